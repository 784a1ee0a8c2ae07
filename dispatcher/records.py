"""The counters of each function's outcomes: plain integers, bumped in place and read at a scrape."""

from bisect import bisect_left

from bus import Failed, Outcome

BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds of the histograms' buckets, those of Prometheus's client libraries; a last one is unbounded."""
_BUCKETS_NS = [round(bound_s * 1e9) for bound_s in BUCKETS_S]


MOST_CODES = 100
"""Distinct codes per function: each is a series of a metric."""
OTHER = "other"
_OURS = frozenset(("throttled", "unknown_function"))
"""Kinds whose codes a function cannot choose, so that they are always counted by name."""


class Histogram:
    """Durations by bucket, and their sum."""

    def __init__(self) -> None:
        self.counts = [0] * (len(_BUCKETS_NS) + 1)
        self.sum_ns = 0

    def add(self, duration_ns: int) -> None:
        self.counts[bisect_left(_BUCKETS_NS, duration_ns)] += 1
        self.sum_ns += duration_ns


class Record:
    """The counters of one function."""

    def __init__(self) -> None:
        self.outcomes: dict[str, int] = {}
        """by `ok` or the failure's kind"""
        self.failures: dict[str, int] = {}
        """by code; a function can raise any exception, so codes beyond MOST_CODES count as `other`"""
        self.starts: dict[str, int] = {}
        """by start kind, of events that reached an instance"""
        self.waited = Histogram()
        self.ran = Histogram()
        self.cpu_ns = 0
        self.last_failure = ""

    def add(self, outcome: Outcome) -> None:
        kind, start = "ok", outcome.start
        if isinstance(outcome, Failed):
            kind = str(outcome.kind)
            self._count_failure(outcome)
            self.last_failure = f"{outcome.kind}/{outcome.code}: {outcome.message}"
        self.outcomes[kind] = self.outcomes.get(kind, 0) + 1
        if start is not None:
            self.starts[start] = self.starts.get(start, 0) + 1
            timings = outcome.timings
            self.waited.add(timings.assigned_ns - timings.accepted_ns)
            self.ran.add(timings.finished_ns - timings.started_ns)
            self.cpu_ns += outcome.cpu_ns

    def _count_failure(self, failed: Failed) -> None:
        code: str = failed.code
        if code not in self.failures and len(self.failures) >= MOST_CODES and failed.kind not in _OURS:
            code = OTHER
        self.failures[code] = self.failures.get(code, 0) + 1
