"""The timer trigger: scheduled times become events. Read `runner.py` first, then `planner.py` and `schedule.py`."""

from triggers.timer.audit import warnings
from triggers.timer.parse import parse_cron, parse_schedule
from triggers.timer.runner import TimerRunner
from triggers.timer.schedule import Schedule, next_after, upcoming
from triggers.timer.settings import Timer, name_timers
from triggers.timer.work import TimerStatistics

__all__ = [
    "Schedule",
    "Timer",
    "TimerRunner",
    "TimerStatistics",
    "name_timers",
    "next_after",
    "parse_cron",
    "parse_schedule",
    "upcoming",
    "warnings",
]
