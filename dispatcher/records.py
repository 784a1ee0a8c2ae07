"""The counters of each function's outcomes: plain integers, bumped in place and read at a scrape."""

from collections import defaultdict

from bus import Failed, Outcome
from dispatcher.histogram import Histogram, merged

MOST_CODES = 100
"""Distinct codes per function: each is a series of a metric."""
OTHER = "other"
_OURS = frozenset(("throttled", "unknown_function"))
"""Kinds whose codes a function cannot choose, so that they are always counted by name."""
SPARE = "spare"
"""Beside the start kinds: the event met an instance that was forked ahead. To everybody else it is `warm`."""
_READY = ("warm", SPARE)


def _fine() -> Histogram:
    return Histogram(fine=True)


class Record:
    """The counters of one function."""

    def __init__(self) -> None:
        self.outcomes: defaultdict[str, int] = defaultdict(int)
        """by `ok` or the failure's kind"""
        self.failures: dict[str, int] = {}
        """by code; a function can raise any exception, so codes beyond MOST_CODES count as `other`"""
        self.waits: defaultdict[str, Histogram] = defaultdict(_fine)
        """By start kind or `spare`, finely: what events waited for, those of `warm` and `spare` until they were given
        to the instance, all others until the handler began."""
        self._cold_waits = Histogram()
        """those that had to wait for a start, until they were given to the instance"""
        self.ran = Histogram()
        self.cpu_ns = 0
        self.last_failure = ""

    def add(self, outcome: Outcome) -> None:
        start = outcome.start
        if isinstance(outcome, Failed):
            self.outcomes[str(outcome.kind)] += 1
            self._count_failure(outcome)
            self.last_failure = f"{outcome.kind}/{outcome.code}: {outcome.message}"
        else:
            self.outcomes["ok"] += 1
        if start is not None:
            timings = outcome.timings
            waited_ns = timings.assigned_ns - timings.accepted_ns
            if start != "warm":
                self._cold_waits.add(waited_ns)
                waited_ns = timings.started_ns - timings.accepted_ns
            name = SPARE if outcome.spare else start
            self.waits[name].add(waited_ns)
            self.ran.add(timings.finished_ns - timings.started_ns)
            self.cpu_ns += outcome.cpu_ns

    def _count_failure(self, failed: Failed) -> None:
        code: str = failed.code
        if code not in self.failures and len(self.failures) >= MOST_CODES and failed.kind not in _OURS:
            code = OTHER
        self.failures[code] = self.failures.get(code, 0) + 1

    @property
    def starts(self) -> dict[str, int]:
        """How many events reached an instance, by start kind."""
        counts: dict[str, int] = {}
        for name, waits in self.waits.items():
            kind = "warm" if name == SPARE else name
            counts[kind] = counts.get(kind, 0) + waits.count
        return counts

    @property
    def spares(self) -> int:
        """How many of the `warm` starts met a spare."""
        return self.waits[SPARE].count if SPARE in self.waits else 0

    @property
    def waited(self) -> Histogram:
        """From acceptance to assignment to an instance."""
        return merged([self._cold_waits, *(self.waits[name] for name in _READY if name in self.waits)])

    def absorb(self, other: "Record") -> None:
        """Add the runs that another record has counted."""
        for name, waits in other.waits.items():
            own = [self.waits[name]] if name in self.waits else []
            self.waits[name] = merged([waits, *own], fine=True)
        self.cpu_ns += other.cpu_ns
