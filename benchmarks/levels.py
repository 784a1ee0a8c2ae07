"""`python -m benchmarks.levels [--mounts N]`: what a higher level of isolation costs; `bare` is level `limits`.

One function at the levels that the machine has, in one tree, what is compared in turns. It takes about half a minute.
With `--mounts`, which takes root, that is on a machine with so many file systems more: bubblewrap starts with a copy of
them all.
"""

import argparse
import ctypes
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import uvloop

from benchmarks.table import Row, Target, quantiles, render
from benchmarks.tree import machine
from benchmarks.warm import EVENT
from benchmarks.workshop import Workshop, ended, workshop
from sandbox.containment import Level
from sandbox.instance import Instance
from sandbox.spec import FunctionSpec
from sandbox.template import Template
from sandbox.tree import Tree
from tests.kit.levels import contained, levels

FORKS, LOADS, CALLS = 300, 30, 3000
FORK_TARGET = Target(1.1, of_ratio=True)
LOAD_TARGET = Target(1.0, of_ratio=True, plus=12)
CALL_TARGET = Target(1.02, of_ratio=True)
LIMIT_S = 60.0

Measure = Callable[[FunctionSpec], Awaitable[float]]


async def measure(work: Workshop) -> list[Row]:
    """All rows. Raises TimeoutError if the machine is too slow or too busy for the figures to mean anything."""
    with anyio.fail_after(LIMIT_S):
        async with work.tree() as tree:
            specs = {level: _spec(work, level) for level in levels()}
            instances = {level: (await tree.start(spec))[0] for level, spec in specs.items()}
            found = await _in_turns(specs, lambda spec: _fork_ms(tree, spec), FORKS)
            rows = _rows("start by fork", "ms", found, FORK_TARGET)
            calls = await _in_turns(specs, lambda spec: _call_us(instances[spec.containment.level]), CALLS)
            rows += _rows("warm call", "us", calls, CALL_TARGET)
            for instance in instances.values():
                await ended(instance)
            loads = await _in_turns(specs, lambda spec: _load_ms(tree, work, spec), LOADS)
            return rows + _rows("start by load", "ms", loads, LOAD_TARGET)


def _spec(work: Workshop, level: Level) -> FunctionSpec:
    return work.spec("hello", contained(level))


async def _in_turns(specs: dict[Level, FunctionSpec], taken: Measure, times: int) -> dict[Level, list[float]]:
    found: dict[Level, list[float]] = {level: [] for level in specs}
    for _ in range(times):
        for level, spec in specs.items():
            found[level].append(await taken(spec))
    return found


def _rows(name: str, unit: str, found: dict[Level, list[float]], target: Target) -> list[Row]:
    floor = quantiles(found[Level.LIMITS])
    higher = [level for level in found if level is not Level.LIMITS]
    return [Row(f"{name}, {level}", unit, quantiles(found[level]), floor, target) for level in higher]


async def _fork_ms(tree: Tree, spec: FunctionSpec) -> float:
    """From the wish for an instance to its first reply, and nothing left of it when the next begins."""
    begin_ns = time.monotonic_ns()
    instance, kind = await tree.start(spec)
    await instance.invoke(EVENT, start=kind)
    taken_ns = time.monotonic_ns() - begin_ns
    await ended(instance)
    return taken_ns / 1e6


async def _call_us(instance: Instance) -> float:
    begin_ns = time.monotonic_ns()
    await instance.invoke(EVENT)
    return (time.monotonic_ns() - begin_ns) / 1e3


async def _load_ms(tree: Tree, work: Workshop, spec: FunctionSpec) -> float:
    """The same with a template that is made for it, and gone before the next."""
    fresh = work.spec("hello", spec.containment)
    begin_ns = time.monotonic_ns()
    instance, kind = await tree.start(fresh)
    await instance.invoke(EVENT, start=kind)
    taken_ns = time.monotonic_ns() - begin_ns
    template = tree.template_of(fresh)
    tree.drop(fresh)
    if isinstance(template, Template):
        await template.gone.wait()
    return taken_ns / 1e6


def with_mounts(count: int) -> int:
    """The benchmark in a mount namespace of its own, with so many file systems more; its exit status."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.levels", "--mounts", str(count), "--below", folder]
        return subprocess.run(["unshare", "--mount", "--propagation", "private", *command], check=False).returncode


def mount(folder: Path, count: int) -> None:
    """Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    for place in (folder, *(folder / str(number) for number in range(1, count))):
        place.mkdir(exist_ok=True)
        if libc.mount(b"none", bytes(place), b"tmpfs", 0, 0) != 0:
            raise OSError(ctypes.get_errno(), f"cannot mount: {os.strerror(ctypes.get_errno())}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.levels", description="What levels of isolation cost.")
    parser.add_argument("--mounts", type=int, default=0, help="with so many file systems more, as root")
    parser.add_argument("--below", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.mounts and arguments.below is None:
        sys.exit(with_mounts(arguments.mounts))
    if arguments.below is not None:
        mount(arguments.below, arguments.mounts)
    print(machine(), file=sys.stderr)
    with workshop() as work:
        print(render(uvloop.run(measure(work))))


if __name__ == "__main__":
    main()
