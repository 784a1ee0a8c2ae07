"""For how long starts hold up the server's event loop, which everything else waits for meanwhile."""

import asyncio
import contextlib
import gc
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from benchmarks.table import Quantiles, Row, Target, quantiles
from benchmarks.warm import EVENT
from benchmarks.workshop import Workshop, ended
from forklight.app import GC_THRESHOLD
from sandbox.instance import Instance
from sandbox.spec import FunctionSpec
from sandbox.tree import Tree

FUNCTIONS = 100
AT_A_TIME = 4
TARGET = Target(1)


def measure(workshop: Workshop) -> list[Row]:
    """The callbacks of a loop of its own while a hundred functions load, then fork, then while their instances end."""
    gc.set_threshold(GC_THRESHOLD, 20, 20)  # as the server does; otherwise garbage would be most of what is found
    gc.collect()
    gc.freeze()
    return asyncio.run(_measure(workshop))


async def _measure(workshop: Workshop) -> list[Row]:
    specs = [workshop.spec("hello") for _ in range(FUNCTIONS)]
    async with workshop.tree() as tree:
        instances = await _start(tree, [workshop.spec("hello")])
        with _timed() as loads_ms:
            instances += await _start(tree, specs)
        with _timed() as forks_ms:
            instances += await _start(tree, specs)
        with _timed() as ends_ms:
            await asyncio.gather(*map(ended, instances))
    found = {"loads": loads_ms, "forks": forks_ms, "ends": ends_ms}
    return [_row(f"longest step of the loop, {FUNCTIONS} {what}", taken_ms) for what, taken_ms in found.items()]


def _row(name: str, taken_ms: list[float]) -> Row:
    """The longest and the 99th percentile, in this order: the target is for the longest."""
    return Row(name, "ms", Quantiles(max(taken_ms), quantiles(taken_ms).p99), target=TARGET)


async def _start(tree: Tree, specs: Iterable[FunctionSpec]) -> list[Instance]:
    """One instance of each, a few at a time, and its first reply."""
    places = asyncio.Semaphore(AT_A_TIME)

    async def start(spec: FunctionSpec) -> Instance:
        async with places:
            instance, kind = await tree.start(spec)
            await instance.invoke(EVENT, start=kind)
        return instance

    return list(await asyncio.gather(*map(start, specs)))


@contextlib.contextmanager
def _timed() -> Iterator[list[float]]:
    """The milliseconds that each callback takes, less those that the thread waits for a processor (schedstat)."""
    taken_ms: list[float] = []
    run = asyncio.Handle._run

    def timed(self: asyncio.Handle) -> None:
        waited_ns, began_ns = _waited_ns(), time.monotonic_ns()
        run(self)
        taken_ms.append((time.monotonic_ns() - began_ns - (_waited_ns() - waited_ns)) / 1e6)

    asyncio.Handle._run = timed  # type: ignore[method-assign]
    try:
        yield taken_ms
    finally:
        asyncio.Handle._run = run  # type: ignore[method-assign]


def _waited_ns() -> int:
    return int(Path("/proc/thread-self/schedstat").read_bytes().split()[1])
