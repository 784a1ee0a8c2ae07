"""`python -m benchmarks.rehearsal`: the first call of a fresh fork beside its second one, with and without rehearsal.

The handler imports `sqlite3`, `email.mime.text`, `importlib.metadata` and `_strptime` in its body. One without imports
shows what a first call costs anyway: the pages that it touches are copied. A spare has run an empty call before.
"""

import statistics
import sys
from collections.abc import Sequence

import anyio
import uvloop
from msgspec.structs import replace

from benchmarks.guest_facts import memory
from benchmarks.table import Row, Target, quantiles, render, single
from benchmarks.tree import machine
from benchmarks.warm import EVENT
from benchmarks.workshop import Workshop, ended, workshop
from sandbox.instance import Instance
from sandbox.rehearsal import Plans
from sandbox.spec import FunctionSpec
from sandbox.template import Template
from sandbox.tree import Tree

FORKS = 60
LIMIT_S = 60.0
TARGET = Target(1.3, of_ratio=True)
_UNREADABLE = "memory is unknown: guests forbid its inspection, so only root can read it: run as root."


async def measure(shop: Workshop) -> list[Row]:
    """Rows of a first call beside the second of the same fork, and of its memory after the first."""
    with anyio.fail_after(LIMIT_S):
        async with shop.tree(Plans()) as tree:
            rehearsed, fresh = shop.spec("deferring"), replace(shop.spec("deferring"), rehearsal="none")
            hello = replace(shop.spec("hello"), rehearsal="none")
            await _learn(tree, rehearsed)
            rows = await _rows(tree, "imports in every fork", fresh, None)
            rows += await _rows(tree, "the same, rehearsed", rehearsed, TARGET)
            rows += await _rows(tree, "rehearsed, of a spare", rehearsed, TARGET, ahead=True)
            rows += await _rows(tree, "no imports", hello, None)
            return rows + await _rows(tree, "no imports, of a spare", hello, None, ahead=True)


async def _learn(tree: Tree, spec: FunctionSpec) -> None:
    """Have a first call, then wait for the template that has imported what it did."""
    instance, _ = await tree.start(spec)
    await instance.invoke(EVENT)
    await ended(instance)
    while not (isinstance(template := tree.template_of(spec), Template) and template.loaded.rehearsed):  # noqa: ASYNC110
        await anyio.sleep(0.01)


async def _rows(tree: Tree, name: str, spec: FunctionSpec, target: Target | None, *, ahead: bool = False) -> list[Row]:
    """`ahead`: a fork that no event waits for runs an empty call first."""
    await ended((await tree.start(spec))[0])  # the template is there
    firsts_ms, seconds_ms, sizes = [], [], []
    for _ in range(FORKS):
        instance, _ = await tree.start(spec, ahead=ahead)
        await anyio.sleep(0.005)  # it waits for its first event
        firsts_ms.append(await _call_ms(instance))
        sizes.append(memory(instance.pid))
        seconds_ms.append(await _call_ms(instance))
        await ended(instance)
    calls = Row(f"first call beside second, {name}", "ms", quantiles(firsts_ms), quantiles(seconds_ms), target)
    return [calls, _memory(name, [found.uss_mib for found in sizes if found is not None])]


async def _call_ms(instance: Instance) -> float:
    """Of the handler, with decoding and encoding. The way there and back is the same for both calls."""
    timings = (await instance.invoke(EVENT)).timings
    return (timings.finished_ns - timings.started_ns) / 1e6


def _memory(name: str, sizes_mib: Sequence[float]) -> Row:
    row = f"memory after 1 call, {name}: USS"
    if not sizes_mib:
        return Row(row, "MiB", None, note=_UNREADABLE)
    return Row(row, "MiB", single(statistics.median(sizes_mib)))


def main() -> None:
    print(machine(), file=sys.stderr)
    with workshop() as shop:
        print(render(uvloop.run(measure(shop))))


if __name__ == "__main__":
    main()
