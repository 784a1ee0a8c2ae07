"""Why events had to wait: what each found when it came, kept of the latest, for whoever asks later.

An event that takes an idle instance has no reason here, and costs nothing.
"""

from msgspec import Struct

from dispatcher.pool import Statistics
from sandbox.causes import Cause

MOST_REASONS = 1000
"""Kept of one function."""
LONGEST_ID = 255


class Reason(Struct, frozen=True, kw_only=True):
    """The pool as an event found it that got no instance at once, and what was decided for it."""

    busy: int
    """instances that ran other events"""
    starting: int
    """starts on their way, for events before it"""
    leaving: int
    waiting: int
    """events before it in line"""
    max_instances: int
    begun: int
    """starts that its coming caused"""
    cause: Cause | None = None
    """if it waited for a template or a zygote: why there was none"""


class Reasons:
    """Of one function's latest events that waited, by event and attempt."""

    def __init__(self) -> None:
        self._noted: dict[tuple[str, int], tuple[Statistics, int, int]] = {}
        """What was found, `max_instances` and `begun`: a Reason is made when somebody asks, which few do."""
        self._causes: dict[tuple[str, int], Cause] = {}

    def note(self, event_id: str, attempt: int, found: Statistics, max_instances: int, begun: int) -> None:
        """Keep it; beyond `MOST_REASONS` the oldest is forgotten. An id that a client made that long is not kept."""
        if len(event_id) > LONGEST_ID:
            return
        self._noted[event_id, attempt] = (found, max_instances, begun)
        if len(self._noted) > MOST_REASONS:
            oldest = next(iter(self._noted))
            del self._noted[oldest]
            self._causes.pop(oldest, None)

    def add_cause(self, event_id: str, attempt: int, cause: Cause) -> None:
        """Say why what it waited for was not there."""
        if (event_id, attempt) in self._noted:
            self._causes[event_id, attempt] = cause

    def of(self, event_id: str, attempt: int) -> Reason | None:
        """None: it did not wait, or that is too long ago."""
        noted = self._noted.get((event_id, attempt))
        if noted is None:
            return None
        found, max_instances, begun = noted
        return Reason(
            busy=found.busy,
            starting=found.starting,
            leaving=found.leaving,
            waiting=found.waiting,
            max_instances=max_instances,
            begun=begun,
            cause=self._causes.get((event_id, attempt)),
        )
