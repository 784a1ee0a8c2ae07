"""Why the latest events had to wait: the state of the pool when each arrived, for `forklight why`.

An event that takes a free slot is not recorded, and costs nothing.
"""

from msgspec import Struct

from dispatcher.actions import Statistics
from dispatcher.settings import PoolSettings
from sandbox.causes import Cause

MOST_REASONS = 1000
"""Per function."""
LONGEST_ID = 255


class Reason(Struct, frozen=True, kw_only=True):
    """The pool when an event arrived that found no free slot, and what the pool decided."""

    busy: int
    """instances that ran other events"""
    calls: int = 0
    """events that ran in them"""
    starting: int
    """starts in flight, for earlier events"""
    leaving: int
    waiting: int
    """events ahead of it in line"""
    max_instances: int
    slots: int = 1
    """of each instance: how many events it runs at once"""
    begun: int
    """starts that the event caused"""
    cause: Cause | None = None
    """why there was no template or zygote, or no room, or why it could not have another instance"""


class Reasons:
    """The reasons of one function, by event id and attempt."""

    def __init__(self) -> None:
        self._noted: dict[tuple[str, int], tuple[Statistics, PoolSettings, int]] = {}
        """Statistics, settings and `begun`: a Reason is made only when asked for, which is rare."""
        self._causes: dict[tuple[str, int], Cause] = {}

    def note(self, event_id: str, attempt: int, found: Statistics, pool: PoolSettings, begun: int) -> None:
        """Keep one reason; beyond `MOST_REASONS` forget the oldest. Overlong ids, which clients choose, are skipped."""
        if len(event_id) > LONGEST_ID:
            return
        self._noted[event_id, attempt] = (found, pool, begun)
        if len(self._noted) > MOST_REASONS:
            oldest = next(iter(self._noted))
            del self._noted[oldest]
            self._causes.pop(oldest, None)

    def add_cause(self, event_id: str, attempt: int, cause: Cause) -> None:
        """Add what was behind the wait."""
        if (event_id, attempt) in self._noted:
            self._causes[event_id, attempt] = cause

    def of(self, event_id: str, attempt: int) -> Reason | None:
        """Return the reason; None if the event did not wait, or is forgotten."""
        noted = self._noted.get((event_id, attempt))
        if noted is None:
            return None
        found, pool, begun = noted
        return Reason(
            busy=found.busy,
            calls=found.calls,
            starting=found.starting,
            leaving=found.leaving,
            waiting=found.waiting,
            max_instances=pool.max_instances,
            slots=pool.slots,
            begun=begun,
            cause=self._causes.get((event_id, attempt)),
        )
