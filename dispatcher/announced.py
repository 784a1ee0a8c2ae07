"""The events that triggers have announced to one pool, and for which an instance has to be ready. Pure."""

from collections.abc import Iterator

from dispatcher.start_costs import Leads

LATE_NS = 5_000_000_000
"""An instance is held so long for an announced event that is late: its run may have to be stored first."""


class Announced:
    """When events are due (CLOCK_MONOTONIC). From `leads.start_ns` before, an instance with a free slot is kept."""

    def __init__(self) -> None:
        self._due_ns: set[int] = set()
        self.leads = Leads()

    def add(self, at_ns: int) -> None:
        """An event is due at `at_ns`."""
        self._due_ns.add(at_ns)

    def clear(self) -> None:
        """No event is expected any more."""
        self._due_ns.clear()

    def __bool__(self) -> bool:
        return bool(self._due_ns)

    def forget(self, now_ns: int) -> None:
        """Drop what is so late that it will not come."""
        if self._due_ns:
            self._due_ns = {at_ns for at_ns in self._due_ns if now_ns < at_ns + LATE_NS}

    def has_missed(self, now_ns: int) -> bool:
        """Whether `forget` would drop something."""
        return any(at_ns + LATE_NS <= now_ns for at_ns in self._due_ns)

    def wants_start(self, now_ns: int) -> bool:
        """Whether an instance must be ready now, or soon."""
        lead_ns = self.leads.start_ns
        return any(at_ns - lead_ns <= now_ns < at_ns for at_ns in self._due_ns)

    def holds(self, idle_since_ns: int, now_ns: int) -> bool:
        """Whether the instance that became idle last must stay; one that was used since an event was due need not."""
        lead_ns = self.leads.start_ns
        return any(
            at_ns - lead_ns <= now_ns < at_ns + LATE_NS and (now_ns < at_ns or idle_since_ns < at_ns)
            for at_ns in self._due_ns
        )

    def forbids_rest(self, now_ns: int) -> bool:
        """Whether the template must stay, because an event comes before it could be made again."""
        lead_ns = max(self.leads.rest_ns, self.leads.start_ns)
        return any(at_ns - lead_ns <= now_ns < at_ns for at_ns in self._due_ns)

    def moments(self) -> Iterator[int]:
        """Every time at which one of the answers may change by itself."""
        for at_ns in self._due_ns:
            yield from (at_ns - self.leads.start_ns, at_ns, at_ns + LATE_NS)
