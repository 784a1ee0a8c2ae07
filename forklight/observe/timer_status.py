"""The state of the timers, with times in each timer's own zone."""

from collections.abc import Sequence
from datetime import datetime

from forklight.observe.status import TimerStatus
from triggers.timer.schedule import Schedule, local, upcoming
from triggers.timer.settings import Timer
from triggers.timer.work import TimerStatistics

MOST_UPCOMING = 1000


def timer_statuses(
    timers: Sequence[Timer], statistics: Sequence[TimerStatistics], now: datetime, count: int = 1
) -> tuple[TimerStatus, ...]:
    """Return the timers in the order of `statistics`, each with its next `count` times (at most MOST_UPCOMING)."""
    schedules = {(timer.function, timer.name): timer.schedule for timer in timers}
    return tuple(_status(schedules[one.function, one.name], one, now, count) for one in statistics)


def _status(schedule: Schedule, found: TimerStatistics, now: datetime, count: int) -> TimerStatus:
    """Avoids a search for a timer that never fires again, or if the one known time is enough."""
    results = found.results
    times = [found.next] if found.next is not None else []
    if times and count > 1:
        times = upcoming(schedule, now, min(count, MOST_UPCOMING))
    return TimerStatus(
        function=found.function,
        name=found.name,
        schedule=found.schedule,
        timezone=found.timezone,
        last=_time_text(schedule, found.last),
        outcome=found.outcome,
        ended=_time_text(schedule, results.ended),
        succeeded=_time_text(schedule, results.succeeded),
        failed=_time_text(schedule, results.failed),
        failures=results.failures,
        error=results.error,
        skipped=found.skipped,
        running=found.running > 0,
        next=tuple(local(schedule, at).isoformat() for at in times),
    )


def _time_text(schedule: Schedule, at: datetime | None) -> str | None:
    return None if at is None else local(schedule, at).isoformat()
