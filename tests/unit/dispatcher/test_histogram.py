"""Durations by bucket, and what they tell of percentiles."""

from bisect import bisect_left
from itertools import pairwise
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.histogram import BUCKETS_S, FINE_S, Histogram, merged

MS = 1_000_000
_DURATIONS = st.lists(st.integers(0, 100_000 * MS) | st.integers(0, 10 * MS), max_size=50)


def histogram(durations_ns: list[int], *, fine: bool) -> Histogram:
    found = Histogram(fine=fine)
    for duration_ns in durations_ns:
        found.add(duration_ns)
    return found


@pytest.mark.invariant("I42")
@given(_DURATIONS.filter(bool), st.sampled_from([0.01, 0.5, 0.9, 0.99, 1.0]))
def test_a_percentile_lies_in_the_bucket_of_the_duration_that_it_names(durations_ns: list[int], share: float) -> None:
    true_ns = sorted(durations_ns)[ceil(share * len(durations_ns)) - 1]
    bounds_ns = [0, *(round(bound_s * 1e9) for bound_s in FINE_S)]
    index = bisect_left(bounds_ns, true_ns)

    told_ns = histogram(durations_ns, fine=True).quantile_ns(share)

    if index == len(bounds_ns):
        assert told_ns == bounds_ns[-1], "beyond the last bound"
    else:
        assert bounds_ns[max(0, index - 1)] <= told_ns <= bounds_ns[max(1, index)]


@pytest.mark.invariant("I42")
@given(_DURATIONS, _DURATIONS, st.booleans())
def test_histograms_together_are_one_of_all_durations(first: list[int], second: list[int], fine: bool) -> None:
    parts = [histogram(each, fine=True) for each in (first, second)]
    whole = histogram([*first, *second], fine=fine)

    together = merged(parts, fine=fine)

    assert (together.counts, together.sum_ns) == (whole.counts, whole.sum_ns)
    assert together.count == len(first) + len(second)
    assert merged(parts).upto(BUCKETS_S) == merged(parts, fine=True).upto(BUCKETS_S)


def test_nothing_has_no_percentile() -> None:
    assert Histogram(fine=True).quantile_ns(0.5) == 0


def test_neighbouring_bounds_differ_by_no_more_than_a_quarter() -> None:
    assert all(after / before <= 1.29 for before, after in pairwise(FINE_S))
