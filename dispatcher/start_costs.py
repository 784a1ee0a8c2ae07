"""What starts of one function have taken, and so how long before an announced event its instance must start. Pure."""

from collections import deque

from msgspec import Struct

from bus.outcome import StartKind

REMEMBERED = 5
"""Starts of each kind. The slowest of a few recent ones counts, since a start that is late makes an event wait."""
MARGIN = 2.0
"""An announced event's instance starts so many times earlier than the slowest start requires."""
LEAST_LEAD_NS = 2_000_000_000
"""Covers a start that is much slower than any before, on a machine that is busy."""
MOST_LEAD_NS = 120_000_000_000
"""No instance is held longer for an event that is yet to come. Triggers announce events at least so long ahead."""


class Leads(Struct, frozen=True):
    """How long before an announced event something has to happen."""

    start_ns: int = LEAST_LEAD_NS
    """An instance starts."""
    rest_ns: int = LEAST_LEAD_NS
    """A function at rest keeps its template from here on, because making it again would take too long."""


class StartCosts:
    """The durations of the latest starts, by kind."""

    def __init__(self) -> None:
        self._taken_ns: dict[StartKind, deque[int]] = {}

    def note(self, kind: StartKind, taken_ns: int) -> None:
        """A start of this kind has taken so long."""
        self._taken_ns.setdefault(kind, deque(maxlen=REMEMBERED)).append(taken_ns)

    def largest_ns(self, *kinds: StartKind) -> int | None:
        """The longest of the latest starts of these kinds; None if there was none so far."""
        return max((taken_ns for kind in kinds for taken_ns in self._taken_ns.get(kind, ())), default=None)

    def leads(self, init_timeout_s: float, *, has_template: bool) -> Leads:
        """`has_template`: the next start is only a fork. Until a load was seen, it may take all of `init_timeout`."""
        whole_ns = self.largest_ns("load", "boot")
        rest_ns = _bounded(init_timeout_s * 1e9 if whole_ns is None else MARGIN * whole_ns)
        fork_ns = self.largest_ns("fork") or 0
        return Leads(_bounded(MARGIN * fork_ns) if has_template else rest_ns, rest_ns)


def _bounded(lead_ns: float) -> int:
    return min(MOST_LEAD_NS, max(LEAST_LEAD_NS, int(lead_ns)))
