"""When a timer is due: pure arithmetic on three kinds of schedule. Every function takes the time it asks about.

All datetimes in and out are aware; those out are in UTC. (Within one zone Python compares datetimes by what the wall
clock shows, which is wrong in the hour that the end of summer time repeats.)

Summer time, as Debian's cron has it, shown for Europe/Berlin (`local_times.py` does it, for every zone):

- A schedule of five fields whose minute and hour do not start with `*` means points in time: `30 2 * * *` runs once a
  day. In spring, when 02:30 does not exist, it runs at 03:00; in autumn, when 02:30 comes twice, it runs at the first.
- Any other means an interval and runs through: `0 * * * *` and `*/15 * * * *` run every hour and quarter of an hour
  that really passes. So `*/15 2 * * *`, and all with a field of seconds, do not run at an hour that does not exist
  and run twice in one that comes twice. `audit` finds these.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count, islice

from msgspec import Struct

from triggers.timer.local_times import cron_times
from triggers.timer.zones import zone

COUNT_LIMIT = 1000
"""Missed times are counted up to here: a timer of every second that was off for a year has better things to do."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)
_SECOND = timedelta(seconds=1)


class Cron(Struct, frozen=True, kw_only=True):
    """A cron expression in a time zone; `text` is it as written, `expression` without aliases."""

    text: str
    timezone: str
    expression: str


class Every(Struct, frozen=True, kw_only=True):
    """An interval, counted from the epoch plus `phase_ms`: neither a restart nor a slow run ever shifts it."""

    text: str
    timezone: str
    period_ms: int
    phase_ms: int


class At(Struct, frozen=True, kw_only=True):
    """One moment, and never again."""

    text: str
    timezone: str
    at: datetime


Schedule = Cron | Every | At


class Due(Struct, frozen=True):
    """Scheduled times that have passed: the latest, how many (at most COUNT_LIMIT), and the one that comes next."""

    latest: datetime
    count: int
    following: datetime | None


def times_after(schedule: Schedule, after: datetime) -> Iterator[datetime]:
    """Its scheduled times later than `after`, in order, strictly increasing."""
    after = after.astimezone(UTC)
    match schedule:
        case Cron():
            return cron_times(schedule.expression, zone(schedule.timezone), after)
        case Every(period_ms=period_ms, phase_ms=phase_ms):
            number = ((after - _EPOCH) // _MS - phase_ms) // period_ms + 1
            return (_EPOCH + (phase_ms + n * period_ms) * _MS for n in count(number))
        case At(at=at):
            return iter((at.astimezone(UTC),) if at > after else ())


def next_after(schedule: Schedule, after: datetime) -> datetime | None:
    """The first scheduled time later than `after`; None: never again (a search ends after 50 years)."""
    return next(times_after(schedule, after), None)


def upcoming(schedule: Schedule, now: datetime, n: int) -> list[datetime]:
    """The next `n` scheduled times, fewer if there are no more."""
    return list(islice(times_after(schedule, now), n))


def due_between(schedule: Schedule, last: datetime, now: datetime) -> Due | None:
    """What was scheduled later than `last` and not later than `now`; None: nothing."""
    latest, passed = None, 0
    for at in times_after(schedule, last):
        if at > now:
            return Due(latest, passed, at) if latest else None
        latest, passed = at, passed + 1
        if passed == COUNT_LIMIT:
            latest = _latest(schedule, latest, now)
            return Due(latest, passed, next_after(schedule, latest))
    return Due(latest, passed, None) if latest else None


def missed_between(schedule: Schedule, last: datetime, now: datetime) -> tuple[datetime | None, int]:
    """The latest scheduled time later than `last` and not later than `now`, and how many there are, as in `Due`."""
    due = due_between(schedule, last, now)
    return (due.latest, due.count) if due else (None, 0)


def local(schedule: Schedule, at: datetime) -> datetime:
    """`at` as the clocks of the schedule's zone show it."""
    return at.astimezone(zone(schedule.timezone))


def identity(schedule: Schedule) -> str:
    """What is remembered of it: if this differs after a restart, the schedule was changed."""
    return f"{schedule.text} {schedule.timezone}"


def _latest(schedule: Schedule, known: datetime, now: datetime) -> datetime:
    """The last scheduled time not later than `now`, by halving; `known` is an earlier one."""
    none_after = now
    while none_after - known > _SECOND:
        middle = known + (none_after - known) / 2
        found = next_after(schedule, middle)
        if found is not None and found <= now:
            known = found
        else:
            none_after = middle
    for at in times_after(schedule, known):
        if at > now:
            break
        known = at
    return known
