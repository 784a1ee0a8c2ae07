"""The clock that timers live by: the wall's, which may be set, and a wait that goes on whatever is done to it."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from math import ceil
from typing import Protocol

import anyio


class Clock(Protocol):
    """Wall time and waiting. A test has its own."""

    def now(self) -> datetime:
        """The wall clock in UTC. It may jump, either way."""

    async def wait(self, event: anyio.Event, timeout_s: float) -> None:
        """Until the event is set, at most so long; setting the wall clock neither shortens nor prolongs it."""


class SystemClock:
    """The machine's."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    async def wait(self, event: anyio.Event, timeout_s: float) -> None:
        """Whole milliseconds, rounded up: event loops know no less, and waking too early would be for nothing.

        Not by `anyio.move_on_after`, which on uvloop spins through the last half of a millisecond.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(ceil(timeout_s * 1000) / 1000):
                await event.wait()
