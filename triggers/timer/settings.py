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


def name_timers(function: str, given: Sequence[tuple[str | None, str]]) -> list[str]:
    """The names of a function's timers, each given as (name or None, text of its schedule).

    A function's only timer is called after the function; an unnamed one among several is called by its schedule, so
    that their order means nothing. Raises ValueError if two have the same name.
    """
    names = [name or (function if len(given) == 1 else text) for name, text in given]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two timers of {function} are called {name!r}: give each a name of its own")
    return names
