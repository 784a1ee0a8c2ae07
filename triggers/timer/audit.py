"""Warnings about schedules: those that never fire, uneven steps, and those that summer time affects. Pure."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from cronsim import CronSim
from msgspec import Struct

from triggers.timer.expressions import keeps_the_hour, uneven_steps
from triggers.timer.local_times import change_between
from triggers.timer.parse import short_text
from triggers.timer.schedule import At, Cron, Schedule, local, next_after
from triggers.timer.zones import zone

_YEAR = timedelta(days=366)
_SECOND = timedelta(seconds=1)


class _Change(Struct, frozen=True):
    """At `at` the clocks change from `before` to `after`."""

    at: datetime
    before: datetime
    after: datetime


def warnings(schedule: Schedule, now: datetime) -> list[str]:
    """Return warnings, each the end of a sentence about the timer. Summer time is checked for one year."""
    if next_after(schedule, now) is None:
        return ["never fires again: its time is over" if isinstance(schedule, At) else "never fires"]
    if isinstance(schedule, At):
        return _moved(schedule)
    if not isinstance(schedule, Cron):
        return []
    uneven = uneven_steps(schedule.expression)
    if keeps_the_hour(schedule.expression):
        found = (_surprise(schedule, change) for change in _changes(schedule.timezone, now))
        return [*uneven, *(each for each in found if each)]
    return uneven


def _moved(schedule: At) -> list[str]:
    """Warn about an `at` whose local time does not exist."""
    wanted = datetime.fromisoformat(schedule.text.removeprefix("at "))
    runs = local(schedule, schedule.at).replace(tzinfo=None)
    if wanted.tzinfo is not None or wanted == runs:
        return []
    return [f"on {short_text(wanted)} does not exist in {schedule.timezone}: runs at {runs:%H:%M}"]


def _surprise(cron: Cron, change: _Change) -> str | None:
    """Describe the effect on the first scheduled time that the change skips or repeats."""
    low, high = sorted((change.before, change.after))
    wanted = next(CronSim(cron.expression, low - _SECOND), None)
    if wanted is None or wanted >= high:
        return None
    at = change.at
    if change.after > change.before:
        runs_then = next_after(cron, at - _SECOND) == at
        effect = f"runs at {change.after:%H:%M}" if runs_then else "does not run"
        return f"on {short_text(wanted)} does not exist in {cron.timezone}: {effect}"
    second = wanted.replace(fold=1, tzinfo=zone(cron.timezone)).astimezone(UTC)
    if next_after(cron, second - _SECOND) != second:
        return None
    return f"on {short_text(wanted)} comes twice in {cron.timezone}: runs both times"


def _changes(timezone: str, now: datetime) -> Iterator[_Change]:
    """Yield every change of the zone's offset within a year."""
    place = zone(timezone)
    low = now.astimezone(UTC).replace(microsecond=0)
    end = low + _YEAR
    while (at := change_between(place, low, end)) is not None:
        offset = low.astimezone(place).utcoffset() or timedelta(0)
        yield _Change(at, at.replace(tzinfo=None) + offset, at.astimezone(place).replace(tzinfo=None))
        low = at
