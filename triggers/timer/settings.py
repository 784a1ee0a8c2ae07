"""What can be set about one timer: as it is configured, and as it runs."""

from collections.abc import Sequence
from typing import Annotated, Literal

from msgspec import Meta, Struct
from msgspec.structs import asdict

from triggers.timer.parse import parse_schedule
from triggers.timer.schedule import Schedule


class TimerRules(Struct, frozen=True, kw_only=True):
    """What a timer does about its scheduled times. Durations in seconds."""

    missed: Literal["one", "skip"] = "one"
    """Times that passed without a server, or while the machine slept: `"one"` run for all of them, or none.

    A clock that is set forward makes such times too.
    """
    overlap: Literal["skip", "queue", "allow"] = "skip"
    """While the last run still goes: `"queue"` runs after it (several as one), `"allow"` beside it."""
    jitter_s: Annotated[float, Meta(ge=0)] = 0.0
    """Each run starts up to so much later.

    The delay is derived from the id of the run's event.
    """
    retry: Annotated[int, Meta(ge=0)] = 0
    """Further attempts after a failure, with back-off."""


class TimerSettings(Struct, frozen=True, kw_only=True):
    """One `[[functions.x.timer]]` table: exactly one of `schedule`, `every` and `at`."""

    name: str | None = None
    """Unique within the function. Default: the function's name for the first without one, the schedule for others."""
    schedule: str | None = None
    """Cron: 5 fields, a sixth in front is seconds; also `"@daily"` and the like. Default: one of the three."""
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
            raise ValueError(f"name = {self.name!r} cannot be: a text without slashes and outer spaces")

    def parsed(self, of: str = "") -> Schedule:
        """The schedule; `of` names the timer that it is of. Raises ValueError."""
        return parse_schedule(schedule=self.schedule, every_s=self.every_s, at=self.at, timezone=self.timezone, of=of)


class Timer(TimerRules, frozen=True, kw_only=True):
    """At each scheduled time an event of `function`."""

    function: str
    name: str
    """Unique among the timers of its function."""
    schedule: Schedule
    backoff_s: Annotated[float, Meta(ge=0)] = 1.0
    """How long to wait before the first further attempt at most; it doubles with each, as for messages."""

    @property
    def key(self) -> str:
        """What names it among all timers."""
        return f"{self.function}/{self.name}"

    @property
    def keys(self) -> tuple[str, ...]:
        """Its key first, then those it may have had while it stood at another place among unnamed ones."""
        automatic = (self.function, self.schedule.text)
        others = automatic if self.name in automatic else ()
        return (self.key, *(f"{self.function}/{name}" for name in others if name != self.name))


def timers_of(function: str, settings: Sequence[TimerSettings]) -> list[Timer]:
    """The function's timers. Raises ValueError if two have the same name."""
    names = name_timers(function, [(one.name, one.parsed().text) for one in settings])
    return [
        Timer(function=function, name=name, schedule=one.parsed(f"{function}/{name}"), **asdict(one.rules))
        for name, one in zip(names, settings, strict=True)
    ]


def name_timers(function: str, given: Sequence[tuple[str | None, str]]) -> list[str]:
    """The names of a function's timers, each given as (name or None, text of its schedule).

    The first that is unnamed is called after the function, and keeps that name when others come; these are called by
    their schedules. Raises ValueError if two have the same name, or neither a name nor another schedule.
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
