"""`python -m benchmarks.timers [--timers N] [--seconds N]`: how late timers of every second are, and what they cost.

In the same run, in turns, the barest thing that could do it: a heap of times and a function call, which remembers
nothing. Ours decides, stores each run before it starts, and its end, in the embedded store, and carries each as an
event over the bus to a target that answers at once.
"""

import argparse
import asyncio
import heapq
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import anyio
import uvloop

from benchmarks.table import Row, Target, quantiles, render, single
from benchmarks.tree import machine
from bus.bus import Bus
from bus.event import Event
from bus.outcome import Ok, Outcome
from bus.sqlite import open_sqlite
from tests.kit.targets import Awaiting
from triggers.timer import Timer, TimerRunner, parse_cron, parse_schedule
from triggers.timer.schedule import Schedule, next_after

LATENESS = Target(5.0)
WARM_UP_S = 2.0


class Run(NamedTuple):
    """How late each tick was in ms, and the CPU time of one."""

    late_ms: list[float]
    cpu_us: float


class _Answers(Awaiting):
    """The target: notes how late each event is."""

    def __init__(self) -> None:
        self.late_ms: list[float] = []

    async def call(self, event: Event) -> Outcome:
        self.late_ms.append((time.time() - datetime.fromisoformat(event.time).timestamp()) * 1e3)
        return Ok()


async def ours(schedules: list[Schedule], seconds: float) -> Run:
    """All as timers of one function."""
    bus, target = Bus(), _Answers()
    bus.attach(target)
    timers = [Timer(function="f", name=str(n), schedule=schedule) for n, schedule in enumerate(schedules)]
    with TemporaryDirectory() as folder:
        async with open_sqlite(Path(folder) / "store.db") as facts, TimerRunner(bus, facts, timers).running():
            return await _measured(target.late_ms, seconds)


async def bare(schedules: list[Schedule], seconds: float) -> Run:
    """The same times on a heap."""
    late_ms: list[float] = []

    async def tick() -> None:
        heap = [(_next_s(schedule, time.time()), n) for n, schedule in enumerate(schedules)]
        heapq.heapify(heap)
        while True:
            at_s, n = heap[0]
            now_s = time.time()
            if at_s > now_s:
                await asyncio.sleep(at_s - now_s)
                continue
            late_ms.append((now_s - at_s) * 1e3)
            heapq.heapreplace(heap, (_next_s(schedules[n], at_s), n))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(tick)
        run = await _measured(late_ms, seconds)
        tasks.cancel_scope.cancel()
    return run


def _next_s(schedule: Schedule, after_s: float) -> float:
    found = next_after(schedule, datetime.fromtimestamp(after_s, UTC))
    assert found is not None
    return found.timestamp()


async def _measured(late_ms: list[float], seconds: float) -> Run:
    await asyncio.sleep(WARM_UP_S)
    late_ms.clear()
    cpu_s = time.process_time()
    await asyncio.sleep(seconds)
    cpu_s = time.process_time() - cpu_s
    return Run(list(late_ms), cpu_s * 1e6 / max(1, len(late_ms)))


async def measure(count: int, seconds: float) -> list[Row]:
    """Spread over the second, as intervals are, and all at the same moment, as cron expressions are."""
    spread: list[Schedule] = [parse_schedule(every_s=1 + n / count, of=f"f/{n}") for n in range(count)]
    at_once: list[Schedule] = [parse_cron("* * * * * *", "Europe/Berlin")] * count
    rows = []
    for name, schedules, target in ((f"{count} spread", spread, LATENESS), (f"{count} at once", at_once, None)):
        plain = await bare(schedules, seconds)
        run = await ours(schedules, seconds)
        rows += [
            Row(f"lateness, {name}", "ms", quantiles(run.late_ms), quantiles(plain.late_ms), target),
            Row(f"CPU of a tick, {name}", "us", single(run.cpu_us), single(plain.cpu_us)),
            Row(
                f"ticks a second, {name}", "", single(len(run.late_ms) / seconds), single(len(plain.late_ms) / seconds)
            ),
        ]
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.timers", description="How late timers are.")
    parser.add_argument("--timers", type=int, default=1000, metavar="N", help="default 1000")
    parser.add_argument("--seconds", type=int, default=10, metavar="N", help="of each of four runs; default 10")
    arguments = parser.parse_args()
    print(machine(), file=sys.stderr)
    print(render(uvloop.run(measure(arguments.timers, arguments.seconds))))


if __name__ == "__main__":
    main()
