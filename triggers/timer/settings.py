"""The settings of one timer: as configured, and with its schedule parsed."""

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from msgspec import Meta, Struct
from msgspec.structs import asdict

from triggers.timer.parse import parse_schedule
from triggers.timer.schedule import Schedule


class TimerRules(Struct, frozen=True, kw_only=True):
    """How a timer treats its scheduled times. Durations are in seconds."""

    missed: Literal["one", "skip"] = "one"
    """After times that passed while the server was down or the machine slept: `"one"` run for all of them, or none.

    Setting the clock forward also misses times.
    """
    overlap: Literal["skip", "queue", "allow"] = "skip"
    """While the last run is in progress: `"queue"` runs after it (once for several), `"allow"` at the same time."""
    jitter_s: Annotated[float, Meta(ge=0)] = 0.0
    """Each run starts later by up to this much.

    The delay is derived from the id of the run's event.
    """
    retry: Annotated[int, Meta(ge=0)] = 0
    """The number of further attempts after a failure, with back-off."""


class TimerSettings(Struct, frozen=True, kw_only=True):
    """One `[[functions.x.timer]]` table: exactly one of `schedule`, `every` and `at`."""

    example: ClassVar[str] = 'timer = "30 2 * * *"'
    name: str | None = None
    """Unique within the function. Default: the function's name for its first unnamed timer, the schedule for others."""
    schedule: str | None = None
    """Cron: 5 fields, or 6 with seconds first; also `"@daily"` and the like. Default: one of the three."""
    every_s: float | None = None
    """An interval of at least 1 s. Default: one of the three."""
    at: str | None = None
    """Once, at a local time: `"2026-12-24T18:00"`. Default: one of the three."""
    timezone: str = "UTC"
    """An IANA name, such as `"Europe/Berlin"`."""
    rules: Annotated[TimerRules, Meta(extra={"flat": True})] = TimerRules()

    def __post_init__(self) -> None:
        self.parsed()
        if self.name is not None and not (self.name and self.name == self.name.strip() and "/" not in self.name):
            raise ValueError(f"name = {self.name!r} is not allowed: write a name without slashes and outer spaces")

    def parsed(self, of: str = "") -> Schedule:
        """Parse the schedule; `of` is the timer's key. Raises ValueError."""
        return parse_schedule(schedule=self.schedule, every_s=self.every_s, at=self.at, timezone=self.timezone, of=of)


class Timer(TimerRules, frozen=True, kw_only=True):
    """Makes an event of `function` at each scheduled time."""

    function: str
    name: str
    """Unique among the timers of its function."""
    schedule: Schedule
    backoff_s: Annotated[float, Meta(ge=0)] = 1.0
    """The longest delay before the first further attempt; it doubles with each, as for messages."""

    @property
    def key(self) -> str:
        """The timer's name among all timers."""
        return f"{self.function}/{self.name}"

    @property
    def keys(self) -> tuple[str, ...]:
        """Its key, then those it may have had at another place among unnamed timers."""
        automatic = (self.function, self.schedule.text)
        others = automatic if self.name in automatic else ()
        return (self.key, *(f"{self.function}/{name}" for name in others if name != self.name))


def timers_of(function: str, settings: Sequence[TimerSettings]) -> list[Timer]:
    """Return the function's timers. Raises ValueError if two have the same name."""
    names = name_timers(function, [(one.name, one.parsed().text) for one in settings])
    return [
        Timer(function=function, name=name, schedule=one.parsed(f"{function}/{name}"), **asdict(one.rules))
        for name, one in zip(names, settings, strict=True)
    ]


def name_timers(function: str, given: Sequence[tuple[str | None, str]]) -> list[str]:
    """Name a function's timers, each given as (name or None, text of its schedule).

    The first unnamed timer has the function's name, and keeps it when others are added; these have their schedules as
    names. Raises ValueError if two have the same name, or two unnamed ones the same schedule.
    """
    names: list[str] = []
    for name, text in given:
        is_first = all(before is not None for before, _ in given[: len(names)])
        names.append(name or (function if is_first else text))
    unnamed = [text for name, text in given if name is None]
    for name in names:
        if names.count(name) > 1 or unnamed.count(name) > 1:
            raise ValueError(f"two timers of {function} are called {name!r}: give each a name of its own")
    return names
