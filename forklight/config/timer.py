"""The timer keys of a function, and what `check` says about when its timers run."""

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct

from forklight.config.document import Node
from forklight.config.problem import Problem
from triggers.timer import Timer, name_timers, parse_schedule, warnings


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
    missed: Literal["one", "skip"] = "one"
    """Times that passed without a server, or while the machine slept: `"one"` run for all of them, or none."""
    overlap: Literal["skip", "queue", "allow"] = "skip"
    """While the last run still goes: `"queue"` runs after it (several as one), `"allow"` beside it."""
    jitter_s: Annotated[float, Meta(ge=0)] = 0.0
    """Each run starts up to so much later."""
    retry: Annotated[int, Meta(ge=0)] = 0
    """Further attempts after a failure, with back-off."""

    def __post_init__(self) -> None:
        parse_schedule(schedule=self.schedule, every_s=self.every_s, at=self.at, timezone=self.timezone, of="")
        if self.name is not None and not (self.name and self.name == self.name.strip() and "/" not in self.name):
            raise ValueError(f"name = {self.name!r} cannot be: a text without slashes and outer spaces")

    @property
    def text(self) -> str:
        """The schedule as one text."""
        schedule = parse_schedule(
            schedule=self.schedule, every_s=self.every_s, at=self.at, timezone=self.timezone, of=""
        )
        return schedule.text


def timers_of(
    functions: dict[str, tuple[TimerSettings, ...]], root: Node, problems: list[Problem]
) -> tuple[Timer, ...]:
    """The timers of all functions; two of the same name are a problem at their function's place."""
    timers: list[Timer] = []
    for function, written in functions.items():
        try:
            names = name_timers(function, [(one.name, one.text) for one in written])
        except ValueError as error:
            problems.append(root.at("functions").at(function).at("timer").problem(str(error)))
            continue
        timers += [_timer(function, name, one) for name, one in zip(names, written, strict=True)]
    return tuple(timers)


def _timer(function: str, name: str, one: TimerSettings) -> Timer:
    return Timer(
        function=function,
        name=name,
        schedule=parse_schedule(
            schedule=one.schedule, every_s=one.every_s, at=one.at, timezone=one.timezone, of=f"{function}/{name}"
        ),
        missed=one.missed,
        overlap=one.overlap,
        jitter_s=one.jitter_s,
        retry=one.retry,
    )


def timer_warnings(timers: tuple[Timer, ...], root: Node, now: datetime, *, shared: bool) -> Iterator[Problem]:
    """Timers that never fire, that summer time surprises, or that run more than once.

    `shared`: the queues lie on a broker, so that several nodes may serve the file, and each fires its timers.
    """
    for timer in timers:
        place = root.at("functions").at(timer.function).at("timer")
        for warning in warnings(timer.schedule, now):
            yield place.problem(f"the timer {timer.name!r} {warning}")
        if shared:
            yield place.problem(
                f"the timer {timer.name!r} runs on every node that serves this file: if there are several, leave it "
                "to one of them, with a file of its own"
            )
