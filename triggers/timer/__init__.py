"""The timer trigger: scheduled times become events.

In reading order:

- `runner.py`: one task keeps the time of all timers, each run is a task
- `planner.py`: decides what a timer does now, given its stored state
- `schedule.py`: when a timer is due: arithmetic on three kinds of schedule
- `events.py`: a run as an event; whether it gets another attempt
- `work.py`: one timer at work
- `ledger.py`: how the state of timers is stored
- `alarms.py`: which timer is next
- `announcements.py`: announcing events to pools before they are due
- `clock.py`: the wall clock, which may be set
- `settings.py`: the settings of one timer

- `parse.py`: the schedule that a configuration means
- `expressions.py`: cron expressions, checked; `fields.py`: their fields
- `dialects.py`: what the schedules of other schedulers mean here, for messages
- `local_times.py`: cron in a time zone with summer time
- `zones.py`: time zones by name
- `audit.py`: schedules that deserve a warning
"""

from triggers.timer.audit import warnings
from triggers.timer.parse import parse_cron, parse_schedule
from triggers.timer.runner import TimerRunner
from triggers.timer.schedule import Schedule, next_after, upcoming
from triggers.timer.settings import Timer, TimerSettings, name_timers, timers_of
from triggers.timer.work import TimerStatistics

__all__ = [
    "Schedule",
    "Timer",
    "TimerRunner",
    "TimerSettings",
    "TimerStatistics",
    "name_timers",
    "next_after",
    "parse_cron",
    "parse_schedule",
    "timers_of",
    "upcoming",
    "warnings",
]
