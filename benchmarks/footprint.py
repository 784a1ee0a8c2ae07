"""What each process of the tree has in memory for itself, and with its share of what it has in common with others."""

import asyncio
import statistics
from collections.abc import Sequence

from benchmarks.guest_facts import memory
from benchmarks.table import Row, Target, single
from benchmarks.warm import EVENT
from benchmarks.workshop import Workshop
from sandbox.instance import Instance

INSTANCES = 5
USS_TARGET = Target(1.5)
IDLE_S = 2.0
"""Longer than an instance has to be idle before it tidies up."""
_UNREADABLE = "memory is unknown: guests forbid its inspection, so only root can read it: run as root."


async def measure(workshop: Workshop, function: str) -> list[Row]:
    """The medians of some idle instances after their first call and after their hundredth."""
    async with workshop.tree() as tree:
        spec = workshop.spec(function)
        instances = [(await tree.start(spec))[0] for _ in range(INSTANCES)]
        await _call(instances, 1)
        pids = [instance.pid for instance in instances]
        rows = [
            *_rows(f"memory of the zygote, {function}", [zygote.pid for zygote in tree.zygotes()]),
            *_rows(f"memory of the template, {function}", [template.pid for template in tree.templates()]),
            *_rows(f"memory after 1 call, {function}", pids, USS_TARGET),
        ]
        await _call(instances, 99)
        return [*rows, *_rows(f"memory after 100 calls, {function}", pids, USS_TARGET)]


async def measure_idle(workshop: Workshop) -> list[Row]:
    """The same after calls that left garbage, at once and when the instances have gone idle."""
    async with workshop.tree() as tree:
        spec = workshop.spec("litter")
        instances = [(await tree.start(spec))[0] for _ in range(INSTANCES)]
        await _call(instances, 1)
        pids = [instance.pid for instance in instances]
        rows = _rows("memory after 1 call, litter", pids)
        await asyncio.sleep(IDLE_S)
        return [*rows, *_rows("memory when idle, litter", pids)]


async def _call(instances: Sequence[Instance], times: int) -> None:
    for _ in range(times):
        for instance in instances:
            await instance.invoke(EVENT)


def _rows(name: str, pids: Sequence[int], target: Target | None = None) -> list[Row]:
    known = [found for pid in pids if (found := memory(pid)) is not None]
    if not known:
        return [Row(f"{name}: {kind}", "MiB", None, note=_UNREADABLE) for kind in ("USS", "PSS")]
    uss = single(statistics.median(found.uss_mib for found in known))
    pss = single(statistics.median(found.pss_mib for found in known))
    return [Row(f"{name}: USS", "MiB", uss, target=target), Row(f"{name}: PSS", "MiB", pss)]
