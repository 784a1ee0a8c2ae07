"""Durations by bucket: enough for percentiles, in a fixed amount of memory."""

from bisect import bisect_left
from collections.abc import Iterable
from operator import add

BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds of the buckets of metrics, those of Prometheus's client libraries; a last one is unbounded."""
_STEPS = (1.0, 1.25, 1.6, 2.0, 2.5, 3.15, 4.0, 5.0, 6.3, 8.0)
"""Ten a decade (ISO 3, R10): a percentile is off by no more than the width of its bucket, a quarter."""
FINE_S = tuple(sorted({step * 10.0**power for power in range(-5, 2) for step in _STEPS} | set(BUCKETS_S)))
"""Upper bounds of finer buckets, from 10 µs; all of `BUCKETS_S` are among them."""
_COARSE_NS = [round(bound_s * 1e9) for bound_s in BUCKETS_S]
_FINE_NS = [round(bound_s * 1e9) for bound_s in FINE_S]


class Histogram:
    """Durations by bucket, and their sum. `fine`: by `FINE_S` instead of `BUCKETS_S`."""

    def __init__(self, *, fine: bool = False) -> None:
        self.bounds_ns = _FINE_NS if fine else _COARSE_NS
        self.counts = [0] * (len(self.bounds_ns) + 1)
        self.sum_ns = 0

    def add(self, duration_ns: int) -> None:
        self.counts[bisect_left(self.bounds_ns, duration_ns)] += 1
        self.sum_ns += duration_ns

    @property
    def count(self) -> int:
        """How many durations there are."""
        return sum(self.counts)

    def upto(self, bounds_s: Iterable[float]) -> list[int]:
        """Return for each bound, which must be one of its own, how many durations are no longer."""
        return [sum(self.counts[: self.bounds_ns.index(round(bound_s * 1e9)) + 1]) for bound_s in bounds_s]

    def quantile_ns(self, share: float) -> int:
        """Return the duration that `share` of all do not exceed, as far as the buckets tell; 0 if there are none.

        Within a bucket durations are taken to lie evenly; beyond the last bound the answer is that bound.
        """
        wanted, below = share * self.count, 0
        for index, count in enumerate(self.counts[:-1]):
            if count and below + count >= wanted:
                start_ns = self.bounds_ns[index - 1] if index else 0
                return round(start_ns + (self.bounds_ns[index] - start_ns) * (wanted - below) / count)
            below += count
        return self.bounds_ns[-1] if self.counts[-1] else 0


def merged(histograms: Iterable[Histogram], *, fine: bool = False) -> Histogram:
    """Return the sum of histograms; those with fine buckets may become coarse ones."""
    whole = Histogram(fine=fine)
    for one in histograms:
        whole.sum_ns += one.sum_ns
        if one.bounds_ns is whole.bounds_ns:
            whole.counts = list(map(add, whole.counts, one.counts))
            continue
        for bound_ns, count in zip([*one.bounds_ns, whole.bounds_ns[-1] + 1], one.counts, strict=True):
            whole.counts[bisect_left(whole.bounds_ns, bound_ns)] += count
    return whole
