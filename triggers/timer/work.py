"""One timer at work: its present state, and its statistics."""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from triggers.timer.planner import Remembered, Results
from triggers.timer.schedule import identity
from triggers.timer.settings import Timer


class TimerStatistics(Struct, frozen=True, kw_only=True):
    """The state of a timer. Times are in UTC."""

    function: str
    name: str
    schedule: str
    timezone: str
    last: datetime | None
    """The latest scheduled time that ran, including those before a restart."""
    outcome: str
    """Of the latest run that ended: `ok`, kind/code or `interrupted`; `skipped` if a time was skipped since."""
    results: Results
    next: datetime | None
    """None if there is none."""
    running: int
    """Runs in progress, including those that wait for another attempt."""
    runs: int
    """Scheduled and manual runs that ended since the start."""
    skipped: int
    """Missed or overlapping scheduled times since the start, without a run of their own."""


class TimerWork:
    """The state of one timer, which only the runner changes."""

    __slots__ = ("generation", "is_armed", "is_gone", "is_held", "next", "remembered", "runs", "skipped", "timer")

    def __init__(self, timer: Timer, remembered: Remembered, next_at: datetime | None) -> None:
        self.timer = timer
        self.remembered = remembered
        self.next = next_at
        self.is_armed = False
        """Whether it is in the heap of alarms."""
        self.is_held = False
        """Whether a due time waits for the present run to end."""
        self.is_gone = False
        """Whether it is no longer configured: its runs finish, and get no further attempts."""
        self.generation = 0
        """Counts changes; an alarm that was set before a change is ignored."""
        self.runs = 0
        self.skipped = 0

    def __repr__(self) -> str:
        state = "gone" if self.is_gone else "held" if self.is_held else "armed" if self.is_armed else "idle"
        return f"<TimerWork {self.timer.key}: {state}, {len(self.remembered.running)} runs, next at {self.next}>"

    @property
    def is_busy(self) -> bool:
        """Whether a run is in progress."""
        return bool(self.remembered.running)

    def change(self, timer: Timer, remembered: Remembered, next_at: datetime | None) -> None:
        """Adopt another schedule or other settings, or become configured again. Present runs stay its own."""
        self.timer, self.remembered, self.next = timer, remembered, next_at
        self.is_armed = self.is_held = self.is_gone = False
        self.generation += 1

    def end(self) -> None:
        """Note that it is no longer configured."""
        self.next = None
        self.is_armed = self.is_held = False
        self.is_gone = True
        self.generation += 1

    def statistics(self) -> TimerStatistics:
        """Return its numbers now."""
        timer, remembered = self.timer, self.remembered
        return TimerStatistics(
            function=timer.function,
            name=timer.name,
            schedule=timer.schedule.text,
            timezone=timer.schedule.timezone,
            last=remembered.last,
            outcome=remembered.outcome,
            results=remembered.results,
            next=self.next,
            running=len(remembered.running),
            runs=self.runs,
            skipped=self.skipped,
        )


def take_over(timers: Sequence[Timer], *before: dict[str, TimerWork]) -> dict[str, TimerWork]:
    """Find the earlier work that each timer continues, by timer key, and remove it from `before`. Others are new.

    Work with the same schedule under another of the timer's names takes precedence: unnamed timers may change places.
    """
    taken: dict[str, TimerWork] = {}
    for only_same in (True, False):
        for timer in timers:
            for works in before:
                for key in timer.keys if only_same else (timer.key,):
                    work = works.get(key)
                    if work is None or timer.key in taken:
                        continue
                    if not only_same or identity(work.timer.schedule) == identity(timer.schedule):
                        taken[timer.key] = works.pop(key)
    return taken
