"""`python -m benchmarks.node [NODE]`: functions of Node.js beside bare Node.js, which runs a script of one line.

A start is measured from the request for an instance to its first answer, with an existing template; the bare one from
the execution of the program to the first byte that its script writes. CPU is that of the main thread.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import anyio
import uvloop

from benchmarks.guest_facts import cpu_ns
from benchmarks.table import Row, Target, quantiles, render, single
from benchmarks.tree import machine
from benchmarks.warm import EVENT
from benchmarks.workshop import LIMITS, Workshop, ended, workshop
from sandbox.instance import Instance
from sandbox.processes import memory_kb
from sandbox.spec import FunctionSpec, Runtime

STARTS = 15
CALLS = 2000
LIMIT_S = 60.0
_FUNCTIONS = {
    "hello": "exports.handler = async (event) => ({ hello: event.data.name });\n",
    "with_http": "const { createServer, request } = require('http');\nconst { createHash } = require('crypto');\n"
    "exports.handler = async () => ({ all: Boolean(createServer && request && createHash) });\n",
}
_BARE = {
    "hello": "require('fs').writeSync(1, '1')",
    "with_http": "require('http'); require('crypto'); require('fs').writeSync(1, '1')",
}


async def measure(shop: Workshop, node: str) -> list[Row]:
    """All rows. Raises TimeoutError if the machine is too busy."""
    rows: list[Row] = []
    with anyio.fail_after(LIMIT_S):
        for name in _FUNCTIONS:
            rows += await _starts(shop, node, name)
        return rows + await _calls(shop, node)


async def _starts(shop: Workshop, node: str, name: str) -> list[Row]:
    ours_ms, loads_ms, ours_cpu_ms, bare = [], [], [], []
    spec = _spec(shop, node, name)
    async with shop.tree() as tree:
        await ended((await tree.start(spec))[0])
        for _ in range(STARTS):
            bare.append(_bare(node, _BARE[name]))
            begun = time.perf_counter()
            instance, kind = await tree.start(spec)
            loads_ms.append((time.perf_counter() - begun) * 1e3)
            await instance.invoke(EVENT, start=kind)
            ours_ms.append((time.perf_counter() - begun) * 1e3)
            ours_cpu_ms.append(cpu_ns(instance.pid) / 1e6)
            await ended(instance)
    target = Target(40) if name == "hello" else None
    bare_ms, bare_cpu_ms = zip(*bare, strict=True)
    return [
        Row(f"start by fork, {name}", "ms", quantiles(ours_ms), quantiles(bare_ms), target),
        Row(f"its CPU, {name}", "ms", quantiles(ours_cpu_ms), quantiles(bare_cpu_ms)),
        Row(f"of that until it is ready, {name}", "ms", quantiles(loads_ms)),
    ]


async def _calls(shop: Workshop, node: str) -> list[Row]:
    spec = _spec(shop, node, "hello")
    firsts_ms = []
    async with shop.tree() as tree:
        for _ in range(STARTS):
            instance, _ = await tree.start(spec, ahead=True)
            await anyio.sleep(0.02)  # it waits for its first event
            firsts_ms.append(await _call_us(instance) / 1e3)
            await ended(instance)
        instance, _ = await tree.start(spec)
        warm_us = [await _call_us(instance) for _ in range(CALLS)]
        size_kb = memory_kb(instance.pid) or 0
        await ended(instance)
    return [
        Row("first event of a spare", "ms", quantiles(firsts_ms), target=Target(1)),
        Row("warm call", "us", quantiles(warm_us[CALLS // 2 :])),
        Row("memory of an instance: RSS", "MiB", single(size_kb / 1024)),
    ]


async def _call_us(instance: Instance) -> float:
    begun = time.perf_counter()
    await instance.invoke(EVENT)
    return (time.perf_counter() - begun) * 1e6


def _bare(node: str, script: str) -> tuple[float, float]:
    """Milliseconds until the script has written, and of CPU time. It waits for the end of its input then."""
    begun = time.perf_counter()
    waiting = f"{script}; process.stdin.resume()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([node, "-e", waiting], env={"PATH": os.defpath}, **pipes) as process:  # type: ignore[call-overload]
        process.stdout.read(1)
        return (time.perf_counter() - begun) * 1e3, cpu_ns(process.pid) / 1e6


def _spec(shop: Workshop, node: str, name: str) -> FunctionSpec:
    code = shop.code(name)
    (code / "index.js").write_text(_FUNCTIONS[name])
    runtime = Runtime(name="node", kind="node", python=shop.runtime.python, command=(node,))
    return FunctionSpec(
        name=name,
        version=f"{name}-node",
        code=code,
        handler="index:handler",
        runtime=runtime,
        containment=LIMITS,
        rehearsal="none",
    )


def main(arguments: Sequence[str] = ()) -> None:
    """Print the table."""
    node = arguments[0] if arguments else shutil.which("node")
    if node is None:
        sys.exit("there is no node on PATH: name the program")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    print(f"{machine()}, Node.js {version}", file=sys.stderr)
    with workshop() as shop:
        (folder := shop.code("with_http")).mkdir(parents=True, mode=0o755)
        Path(folder).chmod(0o755)
        print(render(uvloop.run(measure(shop, node))))


if __name__ == "__main__":
    main(sys.argv[1:])
