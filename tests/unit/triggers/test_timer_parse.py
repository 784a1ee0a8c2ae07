"""What a configuration may say about a schedule, what it is told otherwise, and what it is warned about."""

from datetime import UTC, datetime
from typing import Any

import pytest

from triggers.timer.audit import warnings
from triggers.timer.parse import parse_cron, parse_schedule
from triggers.timer.settings import name_timers

NOW = datetime(2026, 11, 23, tzinfo=UTC)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, "exactly one of schedule, every and at, but has none"),
        ({"schedule": "0 * * * *", "every_s": 1.0}, "but has schedule and every"),
        ({"schedule": "61 * * * *"}, "its minute is '61'; it may be .* of 0-59$"),
        ({"schedule": "0 24 * * *"}, "its hour is '24'"),
        ({"schedule": "0 7 * * FRO"}, "its day-of-week is 'FRO'.*SUN-SAT"),
        ({"schedule": "0 7 15W * *"}, "its day-of-month is '15W'"),
        ({"schedule": "99 0 7 * * *"}, "its second is '99'"),
        ({"schedule": "0 0 30 2 *"}, "never fires: none of its months has a day 30"),
        ({"schedule": "0 0 30,31 FEB *"}, "never fires: none of its months has a day 30,31"),
        ({"schedule": "0 * * *"}, 'it has 4 fields: write five fields, .* such as "30 2'),
        ({"schedule": "@dayly"}, r"the aliases are .*did you mean '@daily'\?"),
        ({"every_s": 0.5}, "the shortest is"),
        ({"at": "24.12.2026"}, "is not a time .* write a date and a time"),
        ({"at": "2026-12-24"}, "has no time of day"),
        ({"every_s": 60, "timezone": "Europe/Berlim"}, "'Europe/Berlim' is unknown.*did you mean 'Europe/Berlin'"),
        ({"every_s": 60, "timezone": "new york"}, "did you mean 'America/New_York'"),
        ({"every_s": 60, "timezone": "Europe"}, "the time zone 'Europe' is unknown"),
        ({"every_s": 60, "timezone": "/etc/localtime"}, "is unknown"),
        ({"every_s": 60, "timezone": ""}, "the time zone '' is unknown"),
    ],
)
def test_a_wrong_schedule_is_refused_with_what_is_wrong(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        parse_schedule(**given, of="f/f")


@pytest.mark.parametrize(
    ("cron", "timezone", "told"),
    [
        (
            "30 2 * * *",
            "Europe/Berlin",
            ["on 2027-03-28 02:30 does not exist in Europe/Berlin: runs at 03:00"],
        ),
        (
            "*/15 2 * * *",
            "Europe/Berlin",
            [
                "on 2027-03-28 02:00 does not exist in Europe/Berlin: does not run",
                "on 2027-10-31 02:00 comes twice in Europe/Berlin: runs both times",
            ],
        ),
        (
            "0 30 2 * * *",
            "America/New_York",
            [
                "on 2027-03-14 02:30 does not exist in America/New_York: does not run",
            ],
        ),
        ("30 2 * * MON", "Europe/Berlin", []),
        ("0 * * * *", "Europe/Berlin", []),
        ("30 2 * * *", "UTC", []),
        (
            "15 2 * * *",
            "Australia/Lord_Howe",
            ["on 2027-10-03 02:15 does not exist in Australia/Lord_Howe: runs at 02:30"],
        ),
        ("0 0 */30 2 WED#5", "UTC", ["never fires"]),
    ],
)
def test_what_a_cron_schedule_is_warned_about(cron: str, timezone: str, told: list[str]) -> None:
    assert warnings(parse_cron(cron, timezone), NOW) == told


@pytest.mark.parametrize(
    ("at", "told"),
    [
        ("2026-12-24T18:00", []),
        ("2026-01-01T00:00", ["never fires again: its time is over"]),
        ("2027-03-28T02:30", ["on 2027-03-28 02:30 does not exist in Europe/Berlin: runs at 03:00"]),
        ("2027-03-28T02:30+01:00", []),
    ],
)
def test_what_a_single_time_is_warned_about(at: str, told: list[str]) -> None:
    assert warnings(parse_schedule(at=at, timezone="Europe/Berlin", of="f/f"), NOW) == told


def test_an_interval_is_warned_about_nothing() -> None:
    assert warnings(parse_schedule(every_s=3600, timezone="Europe/Berlin", of="f/f"), NOW) == []


def test_the_first_unnamed_timer_is_called_after_its_function_and_others_after_their_schedules() -> None:
    """So that one more renames none that was there."""
    seven, eight, nine = (None, "0 7 * * *"), ("weekly", "0 8 * * *"), (None, "0 9 * * *")
    assert name_timers("report", [seven]) == ["report"]
    assert name_timers("report", [seven, eight]) == ["report", "weekly"]
    assert name_timers("report", [seven, eight, nine]) == ["report", "weekly", "0 9 * * *"]
    assert name_timers("report", [eight, nine]) == ["weekly", "report"]


def test_two_timers_of_a_function_may_not_have_the_same_name() -> None:
    with pytest.raises(ValueError, match="two timers of report are called '@daily'"):
        name_timers("report", [(None, "@daily"), (None, "@daily")])
    with pytest.raises(ValueError, match="two timers of report are called '@daily'"):
        name_timers("report", [(None, "@hourly"), (None, "@daily"), ("@daily", "@weekly")])
