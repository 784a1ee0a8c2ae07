"""The counters of outcomes."""

from bisect import bisect_left

import pytest

from bus import Failed, Ok, Timings
from bus.outcome import ExceptionName
from dispatcher.histogram import BUCKETS_S, Histogram
from dispatcher.records import MOST_BEFORE, Record, Records

MS = 1_000_000


def test_an_outcome_is_counted_by_how_it_ended_and_what_it_waited_for() -> None:
    record = Record()
    record.add(Ok(start="fork", timings=Timings(0, 3 * MS, 4 * MS, 24 * MS), cpu_ns=7))
    record.add(Ok(start="warm", timings=Timings(0, 1 * MS, 1 * MS, 2 * MS), cpu_ns=5))

    assert (record.outcomes, record.starts, record.failures) == ({"ok": 2}, {"fork": 1, "warm": 1}, {})
    assert (record.waited.sum_ns, record.ran.sum_ns, record.cpu_ns) == (4 * MS, 21 * MS, 12)
    assert record.last_failure == ""


def test_what_events_waited_for_is_kept_by_start_kind_and_a_spare_is_apart() -> None:
    record = Record()
    record.add(Ok(start="warm", timings=Timings(0, 2 * MS, 3 * MS, 9 * MS)))
    record.add(Ok(start="warm", spare=True, timings=Timings(0, 1 * MS, 3 * MS, 9 * MS)))
    record.add(Ok(start="fork", timings=Timings(0, 4 * MS, 7 * MS, 9 * MS)))

    assert {kind: waits.sum_ns // MS for kind, waits in record.waits.items()} == {"warm": 2, "spare": 1, "fork": 7}
    assert (record.starts, record.spares) == ({"warm": 2, "fork": 1}, 1), "to everybody else a spare is warm"
    assert record.waited.sum_ns == 7 * MS, "until they were sent"


def test_a_record_takes_the_runs_of_another() -> None:
    old, new = Record(), Record()
    for record in (old, new):
        record.add(Ok(start="fork", timings=Timings(0, 1, 2 * MS, 3 * MS), cpu_ns=5))
    old.add(Ok(start="warm", timings=Timings(0, 1, 2, 3), cpu_ns=1))
    new.absorb(old)

    assert (new.starts, new.cpu_ns, new.waits["fork"].sum_ns) == ({"fork": 2, "warm": 1}, 11, 4 * MS)
    assert old.waits["fork"].sum_ns == 2 * MS


def test_a_failure_is_counted_by_kind_and_code() -> None:
    record = Record()
    record.add(Failed(kind="error", code=ExceptionName("ValueError"), message="no such order", start="warm"))
    record.add(Failed(kind="error", code=ExceptionName("KeyError"), message="'a'", start="warm"))

    assert record.outcomes == {"error": 2}
    assert record.failures == {"ValueError": 1, "KeyError": 1}
    assert record.last_failure == "error/KeyError: 'a'"


def test_an_event_that_reached_no_instance_has_no_times() -> None:
    record = Record()
    record.add(Failed(kind="throttled", code="QueueFull", message="full"))

    assert record.outcomes == {"throttled": 1}
    assert (record.starts, sum(record.waited.counts), sum(record.ran.counts)) == ({}, 0, 0)


@pytest.mark.parametrize(
    ("duration_ns", "bucket_s"), [(0, 0.001), (1 * MS, 0.001), (1 * MS + 1, 0.0025), (60_000 * MS, 60.0)]
)
def test_a_duration_falls_in_the_first_bucket_that_holds_it(duration_ns: int, bucket_s: float) -> None:
    histogram = Histogram()
    histogram.add(duration_ns)

    assert [bound for bound, count in zip(BUCKETS_S, histogram.counts, strict=False) if count] == [bucket_s]


def test_the_last_bucket_is_unbounded() -> None:
    histogram = Histogram()
    histogram.add(60_001 * MS)

    assert histogram.counts[-1] == 1
    assert bisect_left(BUCKETS_S, 60.001) == len(histogram.counts) - 1


def test_versions_are_counted_apart_and_the_function_over_all_of_them() -> None:
    records = Records()
    first = records.open("f")
    assert records["f"] is first, "without versions, nothing is added up"
    variant = records.open("f@2")
    for record in (first, first, variant):
        record.add(Ok(start="warm", timings=Timings(0, 1, 2, 3)))
    variant.add(Failed(kind="error", code=ExceptionName("ValueError"), message="no"))
    assert (records.of("f@2").outcomes, dict(records)["f"].outcomes) == ({"ok": 1, "error": 1}, {"ok": 3, "error": 1})
    assert (records["f"].failures, records["f"].last_failure) == ({"ValueError": 1}, "error/ValueError: no")

    for _ in range(MOST_BEFORE + 2):
        records.renew("f").add(Ok())
    records.close("f@2")
    first.add(Ok())  # a call that ends late; so many versions later it counts in vain
    variant.add(Ok())
    assert records.of("f").outcomes == {"ok": 1}
    assert records["f"].outcomes == {"ok": 3 + MOST_BEFORE + 2 + 1, "error": 1}
    records.close("f")
    assert (list(records), records.retired["f"].outcomes["ok"]) == ([], 3 + MOST_BEFORE + 2 + 1)
