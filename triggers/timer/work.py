"""One timer at work: what is known of it now, and what may be asked about it."""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from triggers.timer.planner import Remembered
from triggers.timer.schedule import identity
from triggers.timer.settings import Timer


class TimerStatistics(Struct, frozen=True, kw_only=True):
    """One timer now. Times are in UTC."""

    function: str
    name: str
    schedule: str
    timezone: str
    last: datetime | None
    """The latest scheduled time that was run, also before a restart."""
    outcome: str
    """Of the latest run that ended: `ok`, kind/code, `interrupted`; or `skipped` if a time was since."""
    next: datetime | None
    """None: never again."""
    running: int
    """Runs that go now, including those that wait for a further attempt."""
    runs: int
    """Runs ended since the start, by themselves or by hand."""
    skipped: int
    """Scheduled times without a run of their own since the start: missed or overlapping."""


class TimerWork:
    """Changed by the runner only."""

    __slots__ = ("generation", "is_armed", "is_gone", "is_held", "next", "remembered", "runs", "skipped", "timer")

    def __init__(self, timer: Timer, remembered: Remembered, next_at: datetime | None) -> None:
        self.timer = timer
        self.remembered = remembered
        self.next = next_at
        self.is_armed = False
        """It is in the heap of alarms."""
        self.is_held = False
        """A time is due and waits for the run that goes."""
        self.is_gone = False
        """It is no longer configured: what runs finishes, and is not tried again."""
        self.generation = 0
        """Counts its changes: an alarm that was set for an earlier one is void."""
        self.runs = 0
        self.skipped = 0

    def __repr__(self) -> str:
        state = "gone" if self.is_gone else "held" if self.is_held else "armed" if self.is_armed else "idle"
        return f"<TimerWork {self.timer.key}: {state}, {len(self.remembered.running)} runs, next at {self.next}>"

    @property
    def is_busy(self) -> bool:
        """Whether a run goes."""
        return bool(self.remembered.running)

    def change(self, timer: Timer, remembered: Remembered, next_at: datetime | None) -> None:
        """Another schedule, other settings, or configured once more; runs that go are still its own."""
        self.timer, self.remembered, self.next = timer, remembered, next_at
        self.is_armed = self.is_held = self.is_gone = False
        self.generation += 1

    def end(self) -> None:
        """No longer configured."""
        self.next = None
        self.is_armed = self.is_held = False
        self.is_gone = True
        self.generation += 1

    def statistics(self) -> TimerStatistics:
        """Its numbers now."""
        timer, remembered = self.timer, self.remembered
        return TimerStatistics(
            function=timer.function,
            name=timer.name,
            schedule=timer.schedule.text,
            timezone=timer.schedule.timezone,
            last=remembered.last,
            outcome=remembered.outcome,
            next=self.next,
            running=len(remembered.running),
            runs=self.runs,
            skipped=self.skipped,
        )


def take_over(timers: Sequence[Timer], *before: dict[str, TimerWork]) -> dict[str, TimerWork]:
    """Whose work each timer goes on with, by its key; what is taken leaves `before`. A timer without one is new.

    One that has the same schedule under another of its names comes first: timers without a name may change places.
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
