"""The clock that timers live by: the wall's, which may be set, and a wait that goes on whatever is done to it."""

from datetime import UTC, datetime
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
        with anyio.move_on_after(timeout_s):
            await event.wait()
