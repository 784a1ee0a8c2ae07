"""From the wish for an instance to its first reply, for each start kind, beside a bare fork and a bare interpreter."""

import time

from benchmarks.bare import Bare, bare_process, interpreter_ns
from benchmarks.table import Row, Target, quantiles, single
from benchmarks.warm import EVENT
from benchmarks.workshop import Workshop, ended
from sandbox import processes
from sandbox.instance import Instance
from sandbox.spec import FunctionSpec
from sandbox.template import Template
from sandbox.tree import Tree

BOOTS = 20
_THREADS = "no fork, because threads were alive after its import: every instance is started by load."
FORK_TARGET = Target(2.5, of_ratio=True)


async def measure(workshop: Workshop, function: str, *, forks: int, loads: int) -> list[Row]:
    """`fork` and `load` of one function, and whether the bare process is as large as the template."""
    async with workshop.tree() as tree, bare_process(workshop, "fork", function) as bare:
        spec = workshop.spec(function)
        _, first = await _first_reply(tree, spec)
        template = tree.template_of(spec)
        if isinstance(template, Template):
            rows = [_size(template, bare, function), await _forks(tree, spec, bare, forks)]
        else:
            rows = [Row(f"start by fork, {function}", "ms", None, note=f"{function}: {_THREADS}")]
        await ended(first)
        taken_ms = [await _load_ms(tree, workshop.spec(function)) for _ in range(loads)]
    return [*rows, Row(f"start by load, {function}", "ms", quantiles(taken_ms))]


def _size(template: Template, bare: Bare, function: str) -> Row:
    sizes_kb = template.loaded.rss_kb, processes.memory_kb(bare.pid) or 0
    ours, theirs = (single(size_kb / 1024) for size_kb in sizes_kb)
    return Row(f"size of the template, {function}", "MiB", ours, theirs)


async def _forks(tree: Tree, spec: FunctionSpec, bare: Bare, rounds: int) -> Row:
    """One of ours, one bare, in turns, and nothing of the last one left when the next begins."""
    forks_ms, bares_ms = [], []
    for _ in range(rounds):
        taken_ms, instance = await _first_reply(tree, spec)
        await ended(instance)
        forks_ms.append(taken_ms)
        bares_ms.append(await bare.fork_ns() / 1e6)
    return Row(f"start by fork, {spec.name}", "ms", quantiles(forks_ms), quantiles(bares_ms), FORK_TARGET)


async def measure_boot(workshop: Workshop) -> list[Row]:
    """`boot` of a whole tree, beside an interpreter that is started and says one byte."""
    boots, bares = [], []
    for _ in range(BOOTS):
        async with workshop.tree() as tree:
            taken_ms, _ = await _first_reply(tree, workshop.spec("hello"))
        boots.append(taken_ms)
        bares.append(await interpreter_ns(workshop.runtime.python) / 1e6)
    return [Row("start by boot, hello", "ms", quantiles(boots), quantiles(bares))]


async def _first_reply(tree: Tree, spec: FunctionSpec) -> tuple[float, Instance]:
    """Milliseconds, and the instance."""
    begin_ns = time.monotonic_ns()
    instance, kind = await tree.start(spec)
    await instance.invoke(EVENT, start=kind)
    return (time.monotonic_ns() - begin_ns) / 1e6, instance


async def _load_ms(tree: Tree, spec: FunctionSpec) -> float:
    """A template made and used once, and gone again before the next."""
    taken_ms, instance = await _first_reply(tree, spec)
    template = tree.template_of(spec)
    if isinstance(template, Template):
        tree.drop(spec)
        await template.gone.wait()
    else:  # the instance was the template itself
        await ended(instance)
        tree.drop(spec)
    return taken_ms
