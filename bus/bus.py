"""The bus: carries events to the dispatcher and outcomes back. It knows the dispatcher only as a `Target`."""

import logging
import traceback
from collections.abc import Callable
from typing import Protocol

from bus.event import Event
from bus.outcome import Failed, Ok, Outcome

log = logging.getLogger(__name__)


class Target(Protocol):
    """What stands behind the bus: the dispatcher, or whatever a test or a simulation puts in its place."""

    async def call(self, event: Event) -> Outcome:
        """Runs the event's function; every failure is an outcome. Cancelled: the caller left, withdraw the event."""

    def capacity(self, function: str) -> int:
        """How many more events the function could run at once now; 0 for one that is unknown or may not be sent any."""

    def on_capacity(self, function: str, callback: Callable[[], None]) -> None:
        """Calls `callback` each time capacity of the function rises from 0, in the event loop. It must not block."""

    def expect(self, function: str, at_ns: int) -> None:
        """An event for the function is due at `at_ns` (CLOCK_MONOTONIC): an instance should be ready then. A hint."""


class Bus:
    """Built first, given its target once by whoever composes the house, then used by every trigger."""

    def __init__(self) -> None:
        self._target: Target | None = None

    def attach(self, target: Target) -> None:
        """Everything from now on goes to `target`; a bus has one in its life."""
        if self._target is not None:
            raise RuntimeError(f"the bus already has a target, {self._target!r}: make a second bus")
        self._target = target

    @property
    def target(self) -> Target:
        if self._target is None:
            raise RuntimeError("the bus has no target yet: attach one before a trigger starts")
        return self._target

    async def call(self, event: Event) -> Outcome:
        """Answers exactly once and raises nothing but cancellation, which means that the caller no longer waits.

        What the handler sent, published or spawned is stored before the outcome is delivered. This version has nowhere
        to store it, so that such an outcome is a failure of kind `store`, never silence.
        What a target raises against its promise becomes a failure of kind `error`, so that no trigger needs a second
        road for it.
        """
        try:
            outcome = await self.target.call(event)
        except Exception as error:
            log.exception("event %s for function %s broke its target", event.id, event.function)
            return Failed(
                kind="error",
                code=type(error).__name__,
                message=f"the dispatcher failed on this event: {error}",
                traceback=traceback.format_exc(),
            )

        if isinstance(outcome, Ok) and outcome.outputs:
            return _not_stored(outcome)
        return outcome

    def capacity(self, function: str) -> int:
        """As the target's: free slots of the function now."""
        return self.target.capacity(function)

    def on_capacity(self, function: str, callback: Callable[[], None]) -> None:
        """As the target's: `callback` runs in the event loop each time slots come free where there were none."""
        self.target.on_capacity(function, callback)

    def expect(self, function: str, at_ns: int) -> None:
        """As the target's: a hint that an event is due at `at_ns` (CLOCK_MONOTONIC)."""
        self.target.expect(function, at_ns)


def _not_stored(outcome: Ok) -> Failed:
    names = ", ".join(sorted({f"{output.kind} to {output.name!r}" for output in outcome.outputs}))
    return Failed(
        kind="store",
        code="NoStore",
        message=f"the handler returned, but this version cannot store its outputs ({names})",
        timings=outcome.timings,
        start=outcome.start,
        instance=outcome.instance,
        version=outcome.version,
        attempt=outcome.attempt,
        cpu_ns=outcome.cpu_ns,
        peak_rss_kb=outcome.peak_rss_kb,
    )
