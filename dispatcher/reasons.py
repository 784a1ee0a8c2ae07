"""Why events had to wait: what each found when it came, kept of the latest, for whoever asks later.

An event that takes an idle instance has no reason here, and costs nothing.
"""

from msgspec import Struct
from msgspec.structs import replace

MOST_REASONS = 1000
"""Kept of one function."""


class Reason(Struct, frozen=True, kw_only=True, gc=False):
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
    cause: str = ""
    """if it waited for a template or a zygote: why there was none"""


class Reasons:
    """Of one function's latest events that waited, by event and attempt."""

    def __init__(self) -> None:
        self._reasons: dict[tuple[str, int], Reason] = {}

    def note(self, event_id: str, attempt: int, reason: Reason) -> None:
        """Keep it; beyond `MOST_REASONS` the oldest is forgotten."""
        self._reasons[event_id, attempt] = reason
        if len(self._reasons) > MOST_REASONS:
            del self._reasons[next(iter(self._reasons))]

    def add_cause(self, event_id: str, attempt: int, cause: str) -> None:
        """Say why what it waited for was not there."""
        reason = self._reasons.get((event_id, attempt))
        if reason is not None:
            self._reasons[event_id, attempt] = replace(reason, cause=cause)

    def of(self, event_id: str, attempt: int) -> Reason | None:
        """None: it did not wait, or that is too long ago."""
        return self._reasons.get((event_id, attempt))
