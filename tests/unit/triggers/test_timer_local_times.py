"""Cron in every time zone there is, beside an oracle that looks at the clock on the wall minute by minute."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import islice, takewhile
from zoneinfo import ZoneInfo, available_timezones

import pytest

from triggers.timer.local_times import change_between, cron_times

MINUTE = timedelta(minutes=1)
AROUND = timedelta(hours=3)
YEARS = (
    (datetime(2011, 9, 1, tzinfo=UTC), datetime(2012, 1, 1, tzinfo=UTC)),
    (
        datetime(2026, 1, 1, tzinfo=UTC),
        datetime(2027, 1, 1, tzinfo=UTC),
    ),
)
"""With Samoa's change of the date line, which left out a day, and what holds today."""

Walls = list[tuple[datetime, datetime]]
"""Moments and what the clock on the wall shows, minute by minute; the first is before all that is asked about."""


@cache
def changes() -> tuple[tuple[str, datetime], ...]:
    """(a zone, a moment at which its clocks are changed); of zones that change alike only one."""
    found: dict[tuple[datetime, object, object], str] = {}
    for name in sorted(available_timezones()):
        place = ZoneInfo(name)
        for low, end in YEARS:
            at = change_between(place, low, end)
            while at is not None:
                before = (at - timedelta(seconds=1)).astimezone(place).utcoffset()
                found.setdefault((at, before, at.astimezone(place).utcoffset()), name)
                at = change_between(place, at, end)
    return tuple((name, at) for (at, _, _), name in found.items())


@cache
def walls(name: str, change: datetime) -> Walls:
    """From some time before the change to some time after all that it leaves out or repeats."""
    place = ZoneInfo(name)
    jump = change.astimezone(place).utcoffset(), (change - MINUTE).astimezone(place).utcoffset()
    assert jump[0] is not None
    assert jump[1] is not None
    around = AROUND + abs(jump[0] - jump[1])
    moments = [change.replace(second=0) - around + n * MINUTE for n in range(2 * int(around / MINUTE))]
    return [(at, at.astimezone(place).replace(tzinfo=None)) for at in moments]


def points(minutes: range, hours: range, seen: Walls) -> Iterator[datetime]:
    """When the clock first shows, or has jumped over, a time that is wanted."""
    high = seen[0][1]
    for at, wall in seen[1:]:
        passed = (high + n * MINUTE for n in range(1, int((wall - high) / MINUTE) + 1))
        if any(one.minute in minutes and one.hour in hours for one in passed):
            yield at
        high = max(high, wall)


def through(minutes: range, hours: range, seen: Walls) -> Iterator[datetime]:
    """Whenever the clock shows it."""
    return (at for at, wall in seen[1:] if wall.minute in minutes and wall.hour in hours)


def found(expression: str, name: str, seen: Walls) -> list[datetime]:
    times = cron_times(expression, ZoneInfo(name), seen[0][0])
    return list(takewhile(lambda at: at <= seen[-1][0], times))


def test_there_is_something_to_test() -> None:
    assert len(changes()) > 100


def test_every_local_time_is_due_once_in_every_zone() -> None:
    """Those beside the change itself, which it may leave out or repeat, and those of a whole day."""
    for name, change in changes():
        seen = walls(name, change)
        before = (change - MINUTE).astimezone(ZoneInfo(name))
        asked = {(range(m, m + 1), range(h, h + 1)) for m, h in _beside(before)} | {(range(0, 60, 15), range(24))}
        for minutes, hours in asked:
            text = f"{_text(minutes)} {_text(hours)} * * *"
            assert found(text, name, seen) == list(points(minutes, hours, seen)), (name, change, text)


@pytest.mark.parametrize("minute", ["*", "*/15", "*/7"])
def test_what_runs_through_is_due_whenever_the_clock_shows_it_in_every_zone(minute: str) -> None:
    step = int(minute.partition("/")[2] or 1)
    for name, change in changes():
        seen = walls(name, change)
        hour = (change - MINUTE).astimezone(ZoneInfo(name)).hour
        for hours in (range(24), range(hour, hour + 1)):
            text = f"{minute} {'*' if len(hours) == 24 else hour} * * *"
            assert found(text, name, seen) == list(through(range(0, 60, step), hours, seen)), (name, change, text)


def test_asked_from_within_a_change_the_times_are_those_of_asking_before() -> None:
    for name, change in changes():
        for expression in ("0,15,30,45 * * * *", "0,20,45 0-23 * * *"):
            seen = walls(name, change)
            whole = found(expression, name, seen)
            for minutes in (-90, -30, -1, 0, 1, 20, 45, 70):
                start = change + minutes * MINUTE
                rest = [at for at in whole if at > start]
                asked = list(islice(cron_times(expression, ZoneInfo(name), start), len(rest)))
                assert asked == rest, (name, change, expression, minutes)


def _beside(before: datetime) -> set[tuple[int, int]]:
    """Minute and hour of times around the last minute before a change."""
    times = (before.replace(tzinfo=None) + n * MINUTE for n in (-61, -31, -1, 0, 1, 2, 16, 31, 61, 91))
    return {(at.minute, at.hour) for at in times}


def _text(numbers: range) -> str:
    return ",".join(map(str, numbers))
