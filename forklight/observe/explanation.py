"""What the server remembers of one invocation: how it went, what its pool found, what its instance did before."""

from collections.abc import Iterable, Sequence

from msgspec import Struct

from dispatcher.reasons import Reason
from forklight.observe.entry import Entry


class Limits(Struct, frozen=True, kw_only=True):
    """What the function's configuration said of it."""

    timeout_s: float
    keep_alive_s: float
    max_wait_s: float
    max_waiting: int
    max_instances: int
    reserved: int
    rest: str


class Explanation(Struct, frozen=True, kw_only=True):
    """One attempt at one event. `reason` is None if it had an instance at once, or if that is forgotten."""

    entry: Entry
    limits: Limits | None = None
    """None: the function is not served any more."""
    reason: Reason | None = None
    before: Entry | None = None
    """the invocation that its instance ran before"""
    lines: int = 0
    """how many it wrote"""


def total_ms(entry: Entry) -> float:
    """From the acceptance of the event to its outcome."""
    return entry.queue_ms + entry.start_ms + entry.run_ms


def invocations(entries: Iterable[Entry]) -> list[Entry]:
    """The lines that tell how an event went."""
    return [entry for entry in entries if entry.outcome]


def slowest(entries: Iterable[Entry]) -> str | None:
    """The id of the invocation that took longest, if any reached an instance."""
    found = max((entry for entry in entries if entry.start), key=total_ms, default=None)
    return found.invocation if found is not None else None


def before(entry: Entry, entries: Sequence[Entry]) -> Entry | None:
    """What the same instance ran last before this. `entries` are in the order of time."""
    earlier = (other for other in reversed(entries) if other.instance == entry.instance and other.time < entry.time)
    return next((other for other in earlier if other.outcome), None) if entry.instance else None
