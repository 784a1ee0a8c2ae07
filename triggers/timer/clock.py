"""The clock of the timers: wall time, which may be set, and a wait that is not affected by that."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from math import ceil
from typing import Protocol

import anyio


class Clock(Protocol):
    """Wall time and waiting. Tests have a clock of their own."""

    def now(self) -> datetime:
        """Return the wall clock in UTC. It may jump in either direction."""

    async def wait(self, event: anyio.Event, timeout_s: float) -> None:
        """Wait for the event, at most `timeout_s`, however the wall clock is set meanwhile."""


class SystemClock:
    """The clock of the machine."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    async def wait(self, event: anyio.Event, timeout_s: float) -> None:
        """Wait for whole milliseconds, rounded up: event loops have no finer timers, and waking early is useless.

        `anyio.move_on_after` would spin through the last half millisecond on uvloop.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(ceil(timeout_s * 1000) / 1000):
                await event.wait()
