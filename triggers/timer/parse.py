"""Parsing the schedule of a configuration: exactly one of `schedule`, `every` and `at`, and a time zone."""

from datetime import UTC, datetime, timedelta, tzinfo
from zlib import crc32

from triggers.timer.expressions import parse_expression
from triggers.timer.schedule import At, Cron, Every, Schedule
from triggers.timer.zones import zone

DEFAULT_TIMEZONE = "UTC"
"""Not the machine's zone, so that a file means the same times everywhere."""
SHORTEST_S = 1.0
AT_FORM = 'write a date and a time, such as "2026-12-24T18:00" or "2026-12-24T18:00+01:00"'
_MINUTE = timedelta(minutes=1)


def parse_schedule(
    *,
    schedule: str | None = None,
    every_s: float | None = None,
    at: str | None = None,
    timezone: str = DEFAULT_TIMEZONE,
    of: str,
) -> Schedule:
    """Parse the schedule of the timer `of` (`function/name`). Raises ValueError, which says how to write it.

    Intervals count from a moment that is derived from `of`: it survives restarts, and differs between timers, so that
    timers with the same period do not all run at once.
    """
    given = [key for key, value in (("schedule", schedule), ("every", every_s), ("at", at)) if value is not None]
    if len(given) != 1:
        found = " and ".join(given) if given else "none of them"
        raise ValueError(f"takes exactly one of schedule, every and at, but has {found}")
    place = zone(timezone)
    if schedule is not None:
        try:
            return Cron(text=schedule, timezone=timezone, expression=parse_expression(schedule))
        except ValueError as error:
            raise ValueError(f"schedule {schedule!r} {error}") from None
    if every_s is not None:
        return _every(every_s, timezone, of)
    return At(text=f"at {at}", timezone=timezone, at=_moment(str(at), place))


def parse_cron(text: str, timezone: str = DEFAULT_TIMEZONE) -> Cron:
    """Parse the short form: `timer = "30 2 * * *"`. Raises ValueError."""
    parsed = parse_schedule(schedule=text, timezone=timezone, of="")
    assert isinstance(parsed, Cron)
    return parsed


def short_text(at: datetime) -> str:
    """Format a date and a time, without seconds if they are 0."""
    return at.strftime("%Y-%m-%d %H:%M:%S" if at.second else "%Y-%m-%d %H:%M")


def exists(naive: datetime, place: tzinfo) -> bool:
    """Whether the clocks of the zone ever show this time."""
    there = naive.replace(tzinfo=place)
    return there.astimezone(UTC).astimezone(place).replace(tzinfo=None) == naive


def _every(every_s: float, timezone: str, of: str) -> Every:
    if every_s < SHORTEST_S:
        raise ValueError('every is too short: the shortest is "1s"')
    period_ms = round(every_s * 1000)
    phase_ms = crc32(of.encode()) % (period_ms // 1000) * 1000
    return Every(text=f"every {every_s:g}s", timezone=timezone, period_ms=period_ms, phase_ms=phase_ms)


def _moment(text: str, place: tzinfo) -> datetime:
    """Parse `at`. As with cron, a skipped local time is the next one that exists, a repeated one the first."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"at {text!r} is not a time ({error}): {AT_FORM}") from None
    if ":" not in text:
        raise ValueError(f"at {text!r} has no time of day: {AT_FORM}")
    if moment.tzinfo is not None:
        return moment.astimezone(UTC)
    while not exists(moment, place):
        moment += _MINUTE
    return moment.replace(tzinfo=place).astimezone(UTC)
