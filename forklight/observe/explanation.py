"""What the server remembers of one invocation: its entry, the state of its pool, and what its instance ran before."""

from collections.abc import Iterable, Sequence

from msgspec import Struct

from dispatcher.reasons import Reason
from forklight.observe.entry import Entry

_MOST_NAMED = 5


class Limits(Struct, frozen=True, kw_only=True):
    """The function's configuration, as far as it bears on an explanation."""

    timeout_s: float
    keep_alive_s: float
    max_wait_s: float
    max_waiting: int
    max_instances: int
    concurrency: int = 1
    reserved: int
    rest: str


class Explanation(Struct, frozen=True, kw_only=True):
    """One attempt at one event. `reason` is None if a slot was free, or if the reason is forgotten."""

    entry: Entry
    limits: Limits | None = None
    """None: the function is no longer served."""
    reason: Reason | None = None
    before: Entry | None = None
    """the previous invocation on the same instance"""
    lines: int = 0
    """how many lines the invocation wrote"""


def total_ms(entry: Entry) -> float:
    """The time from the acceptance of the event to its outcome."""
    return entry.queue_ms + entry.start_ms + entry.run_ms


def invocations(entries: Iterable[Entry]) -> list[Entry]:
    """Select the entries that have an outcome."""
    return [entry for entry in entries if entry.outcome]


def slowest(entries: Iterable[Entry]) -> str | None:
    """Return the id of the slowest invocation that reached an instance, or None."""
    found = max((entry for entry in entries if entry.start), key=total_ms, default=None)
    return found.invocation if found is not None else None


def choose(entries: Sequence[Entry], wanted: str | None) -> str:
    """Return the id that is `wanted` or ends so; if None, that of the slowest invocation.

    Raises LookupError if there is none, ValueError if several ids end so.
    """
    if wanted is None:
        found = slowest(entries)
        if found is None:
            raise LookupError("no invocation is remembered")
        return found
    ids = sorted({entry.invocation for entry in invocations(entries) if entry.invocation.endswith(wanted)})
    if not ids:
        line = f"no remembered invocation has an id that ends in {wanted!r}"
        raise LookupError(f"{line}: running ones are not listed yet, old ones are forgotten")
    if len(ids) > 1:
        named = ", ".join(ids[:_MOST_NAMED]) + (", …" if len(ids) > _MOST_NAMED else "")
        raise ValueError(f"{len(ids)} ids end in {wanted!r}: {named}")
    return ids[0]


def before(entry: Entry, entries: Sequence[Entry]) -> Entry | None:
    """Return the previous invocation on the same instance. `entries` are in the order of time."""
    earlier = (other for other in reversed(entries) if other.instance == entry.instance and other.time < entry.time)
    return next((other for other in earlier if other.outcome), None) if entry.instance else None
