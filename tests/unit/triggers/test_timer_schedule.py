"""When timers are due: what summer time does, and arithmetic that must agree with itself."""

from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggers.timer.parse import parse_cron, parse_schedule
from triggers.timer.schedule import (
    COUNT_LIMIT,
    Schedule,
    due_between,
    local,
    missed_between,
    next_after,
    times_after,
    upcoming,
)

SPRING = "2027-03-28"
AUTUMN = "2026-10-25"


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("cron", "day", "times"),
    [
        ("30 2 * * *", SPRING, ["03:00+02:00"]),
        ("30 2 * * *", AUTUMN, ["02:30+02:00"]),
        ("0,30 2 * * *", SPRING, ["03:00+02:00"]),
        ("0 2,3 * * *", SPRING, ["03:00+02:00"]),
        ("30 1-3 * * *", AUTUMN, ["01:30+02:00", "02:30+02:00", "03:30+01:00"]),
        ("0 3 * * *", SPRING, ["03:00+02:00"]),
        ("*/30 2 * * *", SPRING, []),
        ("*/30 2 * * *", AUTUMN, ["02:00+02:00", "02:30+02:00", "02:00+01:00", "02:30+01:00"]),
        ("0 30 2 * * *", SPRING, []),
        ("0 30 2 * * *", AUTUMN, ["02:30+02:00", "02:30+01:00"]),
    ],
)
def test_a_day_on_which_the_clocks_change_in_berlin(cron: str, day: str, times: list[str]) -> None:
    schedule = parse_cron(cron, "Europe/Berlin")
    found = [local(schedule, at) for at in islice(times_after(schedule, utc(day) - timedelta(hours=3)), 20)]
    assert [at.isoformat(timespec="minutes")[11:] for at in found if at.date().isoformat() == day] == times


@pytest.mark.parametrize(("day", "hours"), [(SPRING, 23), (AUTUMN, 25)])
@pytest.mark.parametrize(("cron", "each_hour"), [("0 * * * *", 1), ("*/15 * * * *", 4)])
def test_hourly_and_quarterly_run_through(cron: str, each_hour: int, day: str, hours: int) -> None:
    schedule = parse_cron(cron, "Europe/Berlin")
    found = [local(schedule, at) for at in islice(times_after(schedule, utc(day) - timedelta(hours=3)), 200)]
    assert sum(at.date().isoformat() == day for at in found) == hours * each_hour


def test_asked_in_the_repeated_hour_the_first_pass_is_over() -> None:
    schedule = parse_cron("30 2 * * *", "Europe/Berlin")
    in_the_second_pass = utc("2026-10-25T01:15")
    assert next_after(schedule, in_the_second_pass) == utc("2026-10-26T01:30")


@pytest.mark.parametrize(
    ("text", "timezone", "at"),
    [
        ("2026-12-24T18:00", "Europe/Berlin", "2026-12-24T17:00"),
        ("2026-12-24T18:00+05:00", "Europe/Berlin", "2026-12-24T13:00"),
        ("2027-03-28T02:30", "Europe/Berlin", "2027-03-28T01:00"),
        ("2026-10-25 02:30", "Europe/Berlin", "2026-10-25T00:30"),
    ],
)
def test_at_is_due_once(text: str, timezone: str, at: str) -> None:
    schedule = parse_schedule(at=text, timezone=timezone, of="f/f")
    assert list(times_after(schedule, utc("2026-01-01"))) == [utc(at)]
    assert next_after(schedule, utc(at)) is None


def test_every_counts_from_the_same_moment_after_a_restart_and_from_another_for_each_timer() -> None:
    def first(of: str) -> datetime | None:
        return next_after(parse_schedule(every_s=3600, of=of), utc("2026-01-01"))

    assert first("a/a") == first("a/a")
    assert len({first(f"a/{n}") for n in range(20)}) > 15


@pytest.mark.parametrize(
    ("cron", "times"),
    [
        ("@daily", ["2026-01-02T00:00", "2026-01-03T00:00"]),
        ("@weekly", ["2026-01-04T00:00", "2026-01-11T00:00"]),
        ("0 0 L * *", ["2026-01-31T00:00", "2026-02-28T00:00"]),
        ("0 7 * * MON#2", ["2026-01-12T07:00", "2026-02-09T07:00"]),
        ("0 7 * * 5L", ["2026-01-30T07:00", "2026-02-27T07:00"]),
        ("30 0 7 1 JAN *", ["2026-01-01T07:00:30", "2027-01-01T07:00:30"]),
    ],
)
def test_what_an_expression_means(cron: str, times: list[str]) -> None:
    assert upcoming(parse_cron(cron), utc("2026-01-01"), 2) == [utc(at) for at in times]


numbers = st.integers(0, 59).map(str)
minutes = st.one_of(st.just("*"), numbers, st.sampled_from(["*/7", "0,30", "10-20"]))
hours = st.one_of(st.just("*"), st.integers(0, 23).map(str), st.sampled_from(["1-3", "*/2", "0,2,3"]))
days = st.sampled_from(["*", "1", "L", "*/2", "15,31"])
weekdays = st.sampled_from(["*", "0", "SUN", "MON-FRI", "7L", "1#1"])
zones = st.sampled_from(
    ["UTC", "Europe/Berlin", "America/New_York", "Australia/Sydney", "Asia/Kathmandu", "Africa/Cairo"]
)
crons = st.builds(
    lambda second, minute, hour, day, weekday, zone: parse_cron(
        " ".join(([second] if second else []) + [minute, hour, day, "*", weekday]), zone
    ),
    st.sampled_from(["", "", "0", "*/20"]),
    minutes,
    hours,
    days,
    weekdays,
    zones,
)
intervals = st.builds(
    lambda seconds, of: parse_schedule(every_s=seconds, of=of), st.floats(1, 1e6), st.text(max_size=4)
)
schedules: st.SearchStrategy[Schedule] = st.one_of(crons, intervals)
moments = st.one_of(
    st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)),
    st.builds(
        lambda change, seconds: utc(change) + timedelta(seconds=seconds),
        st.sampled_from(["2027-03-28T01:00", "2026-10-25T01:00", "2026-04-04T15:00", "2026-04-23T22:00"]),
        st.floats(-10_000, 10_000),
    ),
)


@pytest.mark.invariant("I28")
@given(schedules, moments)
def test_each_time_is_the_next_after_the_one_before(schedule: Schedule, start: datetime) -> None:
    times = upcoming(schedule, start, 8)
    assert times
    for before, at in zip([start, *times], times, strict=False):
        assert at > before
        assert next_after(schedule, before) == at
        assert next_after(schedule, before + (at - before) / 2) == at


@pytest.mark.invariant("I28")
@given(schedules, moments, st.timedeltas(timedelta(0), timedelta(days=60)))
def test_what_was_missed_is_what_iterating_finds(schedule: Schedule, last: datetime, gap: timedelta) -> None:
    times = [at for at in upcoming(schedule, last, COUNT_LIMIT) if at <= last + gap]
    latest, count = missed_between(schedule, last, last + gap)
    assert count == len(times)
    if count < COUNT_LIMIT:
        assert latest == (times[-1] if times else None)
    else:
        assert latest is not None
        assert latest <= last + gap
        following = next_after(schedule, latest)
        assert following is not None
        assert following > last + gap


@pytest.mark.invariant("I28")
@given(schedules, moments, st.timedeltas(timedelta(0), timedelta(days=2)))
def test_what_follows_the_due_times_is_the_next_of_the_latest(
    schedule: Schedule, last: datetime, gap: timedelta
) -> None:
    due = due_between(schedule, last, last + gap)
    if due is not None:
        assert due.following == next_after(schedule, due.latest)


def test_a_year_of_seconds_is_counted_up_to_the_limit_and_its_last_second_found() -> None:
    schedule = parse_cron("* * 2 * * *", "Europe/Berlin")
    latest, count = missed_between(schedule, utc("2025-01-01"), utc("2026-11-23T12:00"))
    assert (latest, count) == (utc("2026-11-23T01:59:59"), COUNT_LIMIT)
