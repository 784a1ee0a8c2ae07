"""Stand-ins for the dispatcher behind a bus, and the way from a dispatcher to an outcome that a test awaits."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from bus.bus import Bus, Pool, Target
from bus.event import Event
from bus.outcome import Outcome
from tests.kit.pools import Roomy


async def outcome_of(target: Target, event: Event) -> Outcome:
    """What a target makes of an event."""
    bus = Bus()
    bus.attach(target)
    return await bus.call(event)


class Awaiting:
    """A target whose `call` returns the outcome of each event. An event that is dropped cancels it."""

    async def call(self, event: Event) -> Outcome:
        raise AssertionError(f"{self} has no call")

    def begin(self, event: Event, done: Callable[[Outcome], None]) -> "Begun":
        return Begun(self.call(event), done)

    def version(self, function: str, wanted: str) -> str:
        return ""

    def pool(self, function: str) -> Pool:
        return Roomy()


class Begun:
    """An event whose outcome a callback gets."""

    def __init__(self, run: Coroutine[Any, Any, Outcome], done: Callable[[Outcome], None]) -> None:
        self._done = done
        self._run = asyncio.get_running_loop().create_task(run)
        self._run.add_done_callback(self._end)

    def _end(self, run: "asyncio.Task[Outcome]") -> None:
        if not run.cancelled():
            self._done(run.result())

    def drop(self) -> None:
        self._run.cancel()
