"""The moments at which a cron expression is due in a time zone, through changes of its clocks. Pure.

CronSim walks through local times as if clocks never changed; this module converts them to moments. `fold=0` of a local
time (PEP 495) is the first of two, or what a skipped one would have been without the change.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo

from cronsim import CronSim

_DAY = timedelta(days=1)
_MICROSECOND = timedelta(microseconds=1)
_SECOND = timedelta(seconds=1)


def cron_times(expression: str, place: tzinfo, after: datetime) -> Iterator[datetime]:
    """Yield times in UTC, later than `after`, strictly increasing. For the two kinds of expression see `schedule`."""
    fields = expression.split()
    if len(fields) == 5 and not any(field.startswith("*") for field in fields[:2]):
        return _points(expression, place, after)
    return _through(expression, place, after)


def change_between(place: tzinfo, low: datetime, high: datetime) -> datetime | None:
    """Return the first second (UTC) in (low, high] whose offset differs from that at `low`, or None.

    A change that is reverted within a day would be missed; no zone has one.
    """
    offset = _offset(place, low)
    while low < high:
        day_end = min(low + _DAY, high)
        if _offset(place, day_end) != offset:
            return _first_with_other(place, low, day_end, offset)
        low = day_end
    return None


def _points(expression: str, place: tzinfo, after: datetime) -> Iterator[datetime]:
    """Yield the first moment of each local time; skipped ones are due at the change, once for all of them."""
    for wanted in CronSim(expression, after.astimezone(place).replace(tzinfo=None)):
        at = wanted.replace(tzinfo=place).astimezone(UTC)
        if at.astimezone(place).replace(tzinfo=None) != wanted:
            ahead = wanted.replace(tzinfo=place, fold=1).astimezone(UTC)  # with the offset after the change
            at = _first_with_other(place, ahead, at, _offset(place, ahead))
        if at > after:
            yield at
            after = at


def _through(expression: str, place: tzinfo, after: datetime) -> Iterator[datetime]:
    """Yield every moment at which the clocks show a wanted time, from one change to the next."""
    shown = after.astimezone(place).replace(tzinfo=None)
    change: datetime | None = after
    while change is not None:
        offset = _offset(place, change)
        known, change = change, None
        for wanted in CronSim(expression, shown):
            at = (wanted - offset).replace(tzinfo=UTC)
            change = change_between(place, known, at)
            if change is not None:  # the time shown at the change may be wanted too
                shown = change.astimezone(place).replace(tzinfo=None) - _MICROSECOND
                break
            known = at
            yield at


def _first_with_other(place: tzinfo, low: datetime, high: datetime, offset: timedelta) -> datetime:
    """Find the second at which the offset changes: it is `offset` at `low` and not at `high`."""
    low = low.replace(microsecond=0)
    while high - low > _SECOND:
        middle = (low + (high - low) / 2).replace(microsecond=0)
        if _offset(place, middle) == offset:
            low = middle
        else:
            high = middle
    return high


def _offset(place: tzinfo, at: datetime) -> timedelta:
    return at.astimezone(place).utcoffset() or timedelta(0)
