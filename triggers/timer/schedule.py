"""When a timer is due: pure arithmetic on three kinds of schedule.

All datetimes are aware; results are in UTC. (Within one zone Python compares datetimes by local time, which is wrong in
the hour that is repeated when summer time ends.)

Summer time follows Debian's cron. With Europe/Berlin as the example (`local_times.py` does it for every zone):

- A schedule of five fields whose minute and hour do not start with `*` means points in time: `30 2 * * *` runs once a
  day. In spring, when 02:30 does not exist, it runs at 03:00; in autumn, when 02:30 comes twice, only the first time.
- Any other schedule means an interval: `0 * * * *` and `*/15 * * * *` run every hour and quarter of an hour that
  actually passes. So `*/15 2 * * *`, and any schedule with seconds, does not run in an hour that does not exist, and
  runs twice in one that comes twice. `audit` warns about these.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count, islice

from msgspec import Struct

from triggers.timer.local_times import cron_times
from triggers.timer.zones import zone

COUNT_LIMIT = 1000
"""Missed times are counted up to here, so that a year without a timer of every second costs little."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)
_SECOND = timedelta(seconds=1)


class Cron(Struct, frozen=True, kw_only=True):
    """A cron expression in a time zone; `text` as written, `expression` without aliases."""

    text: str
    timezone: str
    expression: str


class Every(Struct, frozen=True, kw_only=True):
    """An interval, counted from the epoch plus `phase_ms`, so that neither restarts nor slow runs shift it."""

    text: str
    timezone: str
    period_ms: int
    phase_ms: int


class At(Struct, frozen=True, kw_only=True):
    """A single moment."""

    text: str
    timezone: str
    at: datetime


Schedule = Cron | Every | At


class Due(Struct, frozen=True):
    """Scheduled times that have passed: the latest, their number (at most COUNT_LIMIT), and the next one."""

    latest: datetime
    count: int
    following: datetime | None


def times_after(schedule: Schedule, after: datetime) -> Iterator[datetime]:
    """Yield the scheduled times later than `after`, strictly increasing."""
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
    """Return the first scheduled time later than `after`; None if there is none within 50 years."""
    return next(times_after(schedule, after), None)


def upcoming(schedule: Schedule, now: datetime, n: int) -> list[datetime]:
    """Return the next `n` scheduled times, or fewer if there are no more."""
    return list(islice(times_after(schedule, now), n))


def due_between(schedule: Schedule, last: datetime, now: datetime) -> Due | None:
    """Return what was scheduled in (last, now], or None."""
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
    """Return the latest scheduled time in (last, now] and the number of them, as in `Due`."""
    due = due_between(schedule, last, now)
    return (due.latest, due.count) if due else (None, 0)


def local(schedule: Schedule, at: datetime) -> datetime:
    """Convert `at` to the schedule's zone."""
    return at.astimezone(zone(schedule.timezone))


def identity(schedule: Schedule) -> str:
    """Return the text that is stored to notice a changed schedule."""
    return f"{schedule.text} {schedule.timezone}"


def _latest(schedule: Schedule, known: datetime, now: datetime) -> datetime:
    """Find the last scheduled time up to `now` by bisection; `known` is an earlier one."""
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
