"""What a configuration may say about a schedule, what it is told otherwise, and what it is warned about."""

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggers.timer.audit import warnings
from triggers.timer.parse import parse_cron, parse_schedule
from triggers.timer.settings import name_timers

NOW = datetime(2026, 11, 23, tzinfo=UTC)


@pytest.mark.parametrize(
    ("keys", "told"),
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
        ({"schedule": "0 * * *"}, r'did you mean "0 \* \* \* \*"\?'),
        ({"schedule": "a b c"}, 'it has 3 fields: write five fields, .* such as "30 2'),
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
def test_a_wrong_schedule_is_refused_with_what_is_wrong(keys: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        parse_schedule(**keys, of="f/f")


INTERVAL = "is not a schedule: for an interval, write timer = { every ="
NO_YEAR = "is not a schedule: neither ? nor a year is needed: write"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("@every 5m", f'{INTERVAL} "5m" }}'),
        ("@every 1h30m", f'{INTERVAL} "1h30m" }}'),
        ("rate(5 minutes)", f'{INTERVAL} "5m" }}'),
        ("every 5 minutes", f'{INTERVAL} "5m" }}'),
        ("every hour", f'{INTERVAL} "1h" }}'),
        ("2 weeks", f'{INTERVAL} "14d" }}'),
        ("30", 'is not a schedule: for an interval, write its unit: timer = { every = "30s" }, say'),
        ("500ms", 'is not a schedule: the shortest interval is "1s"'),
        (
            "*/90 * * * *",
            (
                "does not mean an interval: in cron, the minute '*/90' is minute 0 of every hour, and no other: "
                'for an interval, write timer = { every = "90m" }'
            ),
        ),
        (
            "0 5/25 * * *",
            (
                "does not mean an interval: in cron, the hour '5/25' is hour 5 of every day, and no other: "
                'for an interval, write timer = { every = "25h" }'
            ),
        ),
        ("cron(0 12 * * ? *)", f'{NO_YEAR} "0 12 * * *"'),
        ("cron(0/15 8-17 ? * 2-6 *)", f'{NO_YEAR} "0/15 8-17 * * MON-FRI"'),
        ("0 12 ? * 1 *", f'{NO_YEAR} "0 12 * * SUN"'),
        ("0 0 12 * * ?", f'{NO_YEAR} "0 12 * * *"'),
        ("0 0 12 ? * 2#1", f'{NO_YEAR} "0 12 * * MON#1"'),
        ("30 0 12 1/1 * ? *", f'{NO_YEAR} "30 0 12 * * *"'),
        ("0 3 ? * MON", 'is not a schedule: ? is written *: write "0 3 * * MON"'),
        ("0 0 3 * * * 2027", 'is not a schedule: there is no field for the year: write "0 3 * * *"'),
        (
            "at(2026-12-24T18:00:00)",
            'is not a schedule: for a single time, write timer = { at = "2026-12-24T18:00:00" }',
        ),
        (
            "TZ=Europe/Berlin 0 3 * * *",
            (
                "is not a schedule: the time zone is a key of its own: "
                'write timer = { schedule = "0 3 * * *", timezone = "Europe/Berlin" }'
            ),
        ),
        (
            "Mon..Fri 09:00 Europe/Berlin",
            (
                "is not a schedule: the time zone is a key of its own: "
                'write timer = { schedule = "0 9 * * MON-FRI", timezone = "Europe/Berlin" }'
            ),
        ),
        ("crontab(minute=0, hour='*/3', day_of_week='mon-fri')", 'is not a schedule: write "0 */3 * * mon-fri"'),
        ("crontab(minute=f())", 'is not a schedule: write its five fields, such as "30 2 * * *"'),
        ("*-*-* 03:00:00", 'is not a schedule: write "0 3 * * *"'),
        ("*-*-01 04:00", 'is not a schedule: write "0 4 1 * *"'),
        ("*:0/15", 'is not a schedule: write "*/15 * * * *"'),
        ("every day at 10:30", 'is not a schedule: write "30 10 * * *"'),
        ("daily", 'is not a schedule: write "@daily"'),
        ("0 3 * * * root /bin/x --now", 'is not a schedule: write "0 3 * * *" alone: what runs is the handler'),
        (
            "@reboot",
            "a timer knows no start of the machine: run forklight invoke NAME in a systemd unit",
        ),
        ("*/5", 'is not a schedule: did you mean "*/5 * * * *"?'),
        ("0 9 * * Monday", "is not a schedule: its day-of-week is 'Monday'; write MON"),
        ("0 9 * * Mon..Fri", "is not a schedule: its day-of-week is 'Mon..Fri'; write MON-FRI"),
        ("0 9 * * FRI-MON", "is not a schedule: its day-of-week is 'FRI-MON'; write FRI-SAT,SUN-MON"),
        ("0 22-6 * * *", "is not a schedule: its hour is '22-6'; write 22-23,0-6"),
        ("0 9 1, 15 * *", "is not a schedule: its hour is '1,'; a field has no spaces: write 1,15"),
        ("0 7 15W * *", "its day-of-month is '15W'; the weekday nearest to a day cannot be named: write 15"),
        ("H/15 H * * *", "its minute is 'H/15'; H is for Jenkins only: write a number"),
    ],
)
def test_a_schedule_of_another_scheduler_is_refused_with_how_to_write_it(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)):
        parse_schedule(schedule=text, of="f/f")


@pytest.mark.invariant("I35")
@given(st.text(st.sampled_from("0159*/-,?LW#H@:. ()=TZcronevymtadsMF")) | st.text())
def test_what_is_advised_is_a_schedule(text: str) -> None:
    try:
        parse_schedule(schedule=text, of="f/f")
    except ValueError as error:
        for advised in re.findall(r' write "([^"]*)"', str(error)):
            parse_schedule(schedule=advised, of="f/f")


@pytest.mark.parametrize("text", ["*/60 * * * *", "0 */24 * * *", "*/60 * * * * *", "0 0 */31 * *", "0 0 * */12 *"])
def test_a_step_as_large_as_its_field_is_what_it_seems(text: str) -> None:
    assert warnings(parse_cron(text), NOW) == []


@pytest.mark.parametrize(
    ("timezone", "told"),
    [
        ("UTC+2", "or 'Etc/GMT-2' for always UTC+2 (its sign is turned)"),
        ("GMT-1", "or 'Etc/GMT+1' for always UTC-1 (its sign is turned)"),
        ("+05:30", "it is an offset, and those of most places change with summer time: write a name such as"),
        ("utc", "(did you mean 'UTC'?)"),
        ("Europe/berlin", "(did you mean 'Europe/Berlin'?)"),
        ("CEST", "(did you mean 'Europe/Berlin'?)"),
        ("PST", "(did you mean 'America/Los_Angeles'?)"),
        ("local", "write that of the machine by its name"),
    ],
)
def test_what_is_no_zone_is_refused_with_the_zone_that_is_meant(timezone: str, told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)):
        parse_schedule(every_s=60, timezone=timezone, of="f/f")


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
        (
            "*/7 * * * *",
            "UTC",
            [
                (
                    "starts again at minute 0 of every hour, 4m after minute 56, as */7 does in cron; "
                    'every = "7m" is always 7m'
                ),
            ],
        ),
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
