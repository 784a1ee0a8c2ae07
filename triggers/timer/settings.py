"""What can be set about one timer; every default filled in."""

from collections.abc import Sequence
from typing import Annotated, Literal

from msgspec import Meta, Struct

from triggers.timer.schedule import Schedule


class Timer(Struct, frozen=True, kw_only=True):
    """At each scheduled time an event of `function`. Durations in seconds."""

    function: str
    name: str
    """Unique among the timers of its function."""
    schedule: Schedule
    missed: Literal["one", "skip"] = "one"
    """Times that passed unserved (stopped, suspended, clock set forward): one run stands for them all, or none."""
    overlap: Literal["skip", "queue", "allow"] = "skip"
    """A time that comes while a run still goes: not run; run after it, several as one; or run beside it."""
    jitter_s: Annotated[float, Meta(ge=0)] = 0.0
    """Each run starts up to so much later, by a delay derived from its event's id."""
    retry: Annotated[int, Meta(ge=0)] = 0
    """How many further attempts a failed run gets."""
    backoff_s: Annotated[float, Meta(ge=0)] = 1.0
    """How long to wait before the first of them at most; it doubles with each, as for messages."""

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
