"""An accepted event on its way through a pool, from its acceptance to its one outcome."""

import logging
from collections.abc import Callable
from typing import Protocol

from bus import Event, Outcome
from bus.in_flight import InFlight
from dispatcher.actions import Statistics
from dispatcher.records import Record

log = logging.getLogger(__name__)


class Line(Protocol):
    """Where calls wait: the runner of the function."""

    def withdraw(self, call: "Call", /) -> None:
        """Take the call out, if it is there."""


class Call:
    """The pool's ticket for an event. `done` gets the outcome, once, unless the caller leaves first.

    `found`, `begun`, `failed_start` and `behind_key` are set while it waits: the pool when it arrived, how many starts
    it caused, the latest start that had failed by then, and whether it waits for the instance of its key.
    """

    __slots__ = (
        "_done",
        "_line",
        "_open",
        "_record",
        "accepted_ns",
        "begun",
        "behind_key",
        "event",
        "failed_start",
        "found",
        "has_missed",
    )

    def __init__(
        self,
        event: Event,
        accepted_ns: int,
        done: Callable[[Outcome], None],
        line: "Line | None",
        *,
        record: Record,
        in_flight: InFlight,
    ) -> None:
        self.event = event
        self.accepted_ns = accepted_ns
        self.found: Statistics | None = None
        self.begun = 0
        self.behind_key = False
        self.failed_start: Exception | None = None
        self.has_missed = False
        """Whether its instance died before the event was written: then it gets one more, at its old place in line."""
        self._done: Callable[[Outcome], None] | None = done
        self._line = line
        self._record = record
        self._open = in_flight
        in_flight.begin()

    @property
    def is_over(self) -> bool:
        """Whether it has its outcome, or nobody waits for one."""
        return self._done is None

    def wait_in(self, line: Line) -> None:
        """It waits there now."""
        self._line = line

    def end(self, outcome: Outcome) -> None:
        """Count and deliver the outcome, unless the caller has left."""
        done, self._done = self._done, None
        if done is not None:
            self._open.end()
            self._record.add(outcome)
            try:
                done(outcome)
            except Exception:  # whoever ended this call has others to end
                log.exception("the outcome of event %s was not delivered; please report this", self.event.id)

    def drop(self) -> None:
        """The caller has left: a waiting event is withdrawn, and the outcome of a running one is not delivered."""
        if self._done is not None:
            self._done = None
            self._open.end()
            if self._line is not None:
                self._line.withdraw(self)
