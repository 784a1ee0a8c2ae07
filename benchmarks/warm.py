"""A warm call over the wire, beside an echo of the same bytes between two processes on the same event loop."""

import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from benchmarks.bare import bare_process
from benchmarks.guest_facts import cpu_ns
from benchmarks.table import Row, Target, quantiles
from benchmarks.workshop import Workshop
from sandbox import wire
from tests.kit.support import event

CALLS_PER_TURN = 100
TURNS = 50
EVENT = event(b'{"name": "world"}')


class Cost(NamedTuple):
    """Of `CALLS_PER_TURN` calls: how long each took, and the CPU time of all, here and in the other process."""

    samples_us: list[float]
    our_cpu_us: float
    other_cpu_us: float


async def measure(workshop: Workshop) -> list[Row]:
    """Turns of calls and of echoes alternate, so that whatever else the machine does hits both."""
    async with workshop.tree() as tree, bare_process(workshop, "echo", "hello") as bare:
        instance, _ = await tree.start(workshop.spec("hello"))
        (frame,) = wire.invoke(1, time.monotonic_ns(), 1, "warm", EVENT)
        calls, echoes = [], []
        for _ in range(TURNS):
            calls.append(await _turn(lambda: instance.invoke(EVENT), instance.pid))
            echoes.append(await _turn(lambda: bare.ask(frame), bare.pid))
    return _rows(calls[1:], echoes[1:])  # the first turn of each warms up


async def _turn(call: Callable[[], Awaitable[object]], pid: int) -> Cost:
    samples_us = []
    our_begin_ns, other_begin_ns = time.process_time_ns(), cpu_ns(pid)
    for _ in range(CALLS_PER_TURN):
        begin_ns = time.monotonic_ns()
        await call()
        samples_us.append((time.monotonic_ns() - begin_ns) / 1000)
    our_ns, other_ns = time.process_time_ns() - our_begin_ns, cpu_ns(pid) - other_begin_ns
    return Cost(samples_us, our_ns / 1000, other_ns / 1000)


def _rows(calls: list[Cost], echoes: list[Cost]) -> list[Row]:
    def times(costs: list[Cost]) -> list[float]:
        return [sample for cost in costs for sample in cost.samples_us]

    def cpu(name: str, part: Callable[[Cost], float], target: Target | None = None) -> Row:
        ours, theirs = (quantiles([part(cost) / CALLS_PER_TURN for cost in costs]) for costs in (calls, echoes))
        return Row(f"warm call, {name}", "us", ours, theirs, target)

    return [
        Row("warm call", "us", quantiles(times(calls)), quantiles(times(echoes))),
        cpu("CPU of both sides", lambda cost: cost.our_cpu_us + cost.other_cpu_us, Target(100)),
        cpu("CPU of the dispatcher", lambda cost: cost.our_cpu_us),
        cpu("CPU of the instance", lambda cost: cost.other_cpu_us),
    ]
