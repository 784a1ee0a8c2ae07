"""A timer trigger before a real dispatcher, a clock that a test sets, and an embedded store that survives a restart."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio

from bus.bus import Bus, Target
from bus.event import Event
from bus.invocation import Invocation
from bus.outcome import Outcome
from bus.sqlite import SqliteStore, open_sqlite
from bus.store import StoreError
from tests.kit.support import until
from triggers.timer import Timer, TimerRunner, TimerStatistics, parse_cron

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


class SetClock:
    """Stands still until a test moves it. Whoever waits is woken by time that passes, never by a clock that is set."""

    def __init__(self, now: datetime = NOON) -> None:
        self._now = now
        self._passed_s = 0.0
        self._sleepers: dict[anyio.Event, tuple[float, anyio.Event]] = {}

    def now(self) -> datetime:
        return self._now

    async def wait(self, event: anyio.Event, timeout_s: float) -> None:
        alarm = anyio.Event()
        self._sleepers[alarm] = (self._passed_s + timeout_s, event)
        try:
            async with anyio.create_task_group() as racing:
                for each in (event, alarm):
                    racing.start_soon(self._first, each, racing.cancel_scope)
        finally:
            del self._sleepers[alarm]

    def set(self, by: timedelta) -> None:
        """The wall clock is set forward or back."""
        self._now += by

    def pass_(self, span: timedelta) -> None:
        """Time passes."""
        self._now += span
        self._passed_s += span.total_seconds()
        for alarm, (at_s, _) in self._sleepers.items():
            if at_s <= self._passed_s:
                alarm.set()

    def is_quiet(self) -> bool:
        """Whether somebody waits, and nobody has anything to wake up for."""
        woken = [alarm.is_set() or event.is_set() for alarm, (_, event) in self._sleepers.items()]
        return bool(woken) and not any(woken)

    @staticmethod
    async def _first(event: anyio.Event, scope: anyio.CancelScope) -> None:
        await event.wait()
        scope.cancel()


class FactsFile:
    """A file with an embedded store, opened by each server in turn. While `is_full`, it takes nothing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._store: SqliteStore | None = None
        self.is_full = False
        self.refusals = 0
        self.pause: anyio.Event | None = None
        """While there is one that is not set, storing takes until it is."""
        self.paused = 0

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        async with open_sqlite(self._path) as self._store:
            yield
        self._store = None

    def copy(self, folder: Path) -> "FactsFile":
        """What a `kill -9` now would leave; `folder` must be new."""
        folder.mkdir()
        for file in self._path.parent.glob(self._path.name + "*"):
            shutil.copy(file, folder)
        return FactsFile(folder / self._path.name)

    async def remember(self, facts: dict[str, str]) -> None:
        if self.is_full:
            self.refusals += 1
            raise StoreError("the disk is full")
        if self.pause is not None:
            self.paused += 1
            await self.pause.wait()
        assert self._store is not None
        await self._store.remember(facts)

    async def recall(self, prefix: str) -> dict[str, str]:
        if self._store is not None:
            return await self._store.recall(prefix)
        async with open_sqlite(self._path) as store:
            return await store.recall(prefix)


@dataclass
class Ticking:
    bus: Bus
    runner: TimerRunner
    clock: SetClock
    ended: list[tuple[Event, Outcome | None]] = field(default_factory=list)

    def report(self, invocation: Invocation) -> None:
        assert invocation.event is not None
        self.ended.append((invocation.event, invocation.outcome))

    def now(self) -> TimerStatistics:
        """The only timer's numbers."""
        [statistics] = self.runner.statistics()
        return statistics

    def scheduled(self) -> list[str]:
        """The scheduled times of the runs that ended, as the handlers saw them."""
        return [event.timer.scheduled_at for event, _ in self.ended if event.timer is not None]

    async def pass_(self, span: timedelta) -> None:
        """Time passes, and what it makes due has been begun."""
        await self.settle()
        self.clock.pass_(span)
        await self.settle()

    async def settle(self) -> None:
        """Wait until the runner has looked at the clock as it is, and waits."""
        await until(self.clock.is_quiet)

    async def wait_ended(self, count: int) -> None:
        await until(lambda: len(self.ended) >= count)


def every_minute(function: str = "f", **settings: Any) -> Timer:
    given: dict[str, Any] = {"function": function, "name": "tick", "schedule": parse_cron("* * * * *")} | settings
    return Timer(**given)


@asynccontextmanager
async def ticking(
    target: Target, facts: FactsFile, *timers: Timer, clock: SetClock | None = None
) -> AsyncIterator[Ticking]:
    """The timers at work until the block ends; what still runs then is cut."""
    bus = Bus()
    bus.attach(target)
    clock = clock or SetClock()
    runner = TimerRunner(bus, facts, timers, clock=clock)
    house = Ticking(bus, runner, clock)
    bus.subscribe(house.report)
    async with facts.open(), runner.running():
        yield house
