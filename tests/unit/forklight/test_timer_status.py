"""How timers are told: in their own zones, with as many times to come as asked for."""

from datetime import UTC, datetime, timedelta
from typing import Any

from forklight.observe.timer_status import timer_statuses
from triggers.timer import Timer, TimerStatistics, next_after, parse_cron, parse_schedule
from triggers.timer.planner import Results

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
BERLIN = Timer(function="digest", name="weekly", schedule=parse_cron("0 7 * * MON", "Europe/Berlin"))


def _now(timer: Timer, **fields: Any) -> TimerStatistics:
    known: dict[str, Any] = {"last": None, "outcome": "", "next": next_after(timer.schedule, NOW), "running": 0}
    schedule = {"schedule": timer.schedule.text, "timezone": timer.schedule.timezone}
    known["results"] = Results()
    return TimerStatistics(function=timer.function, name=timer.name, runs=0, skipped=0, **(known | schedule | fields))


def test_what_became_of_its_runs() -> None:
    at = datetime(2026, 11, 23, 5, tzinfo=UTC)
    results = Results(ended=at, failed=at, failures=3, error="load/ImportModuleError: no module")
    [told] = timer_statuses([BERLIN], [_now(BERLIN, results=results)], NOW)
    assert (told.ended, told.succeeded, told.failed) == ("2026-11-23T06:00:00+01:00", None, "2026-11-23T06:00:00+01:00")
    assert (told.failures, told.error) == (3, "load/ImportModuleError: no module")


def test_times_are_those_of_the_timers_zone() -> None:
    last = datetime(2026, 10, 19, 5, tzinfo=UTC)
    [told] = timer_statuses([BERLIN], [_now(BERLIN, last=last, outcome="error/KeyError", running=1)], NOW)
    assert (told.function, told.name, told.schedule, told.timezone) == (
        "digest",
        "weekly",
        "0 7 * * MON",
        "Europe/Berlin",
    )
    assert (told.last, told.next) == ("2026-10-19T07:00:00+02:00", ("2026-11-30T07:00:00+01:00",))
    assert (told.outcome, told.running) == ("error/KeyError", True)


def test_more_times_to_come() -> None:
    [told] = timer_statuses([BERLIN], [_now(BERLIN)], NOW, 3)
    assert [at[:10] for at in told.next] == ["2026-11-30", "2026-12-07", "2026-12-14"]
    assert told.last is None


def test_one_that_is_over_has_none() -> None:
    schedule = parse_schedule(at=(NOW - timedelta(days=1)).isoformat(), timezone="UTC", of="f/once")
    once = Timer(function="f", name="once", schedule=schedule)
    [told] = timer_statuses([once], [_now(once, outcome="ok")], NOW, 5)
    assert told.next == ()
