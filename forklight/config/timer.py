"""The timer keys of a function, and what `check` says about when its timers run."""

from collections.abc import Iterator
from datetime import datetime

from forklight.config.document import Node
from forklight.config.problem import Problem
from triggers.timer import Timer, TimerSettings, timers_of, warnings


def all_timers(
    functions: dict[str, tuple[TimerSettings, ...]], root: Node, problems: list[Problem]
) -> tuple[Timer, ...]:
    """Return the timers of all functions. Two of the same name are a problem."""
    timers: list[Timer] = []
    for function, settings in functions.items():
        try:
            timers += timers_of(function, settings)
        except ValueError as error:
            problems.append(root.at("functions").at(function).at("timer").problem(str(error)))
    return tuple(timers)


def timer_warnings(timers: tuple[Timer, ...], root: Node, now: datetime, *, shared: bool) -> Iterator[Problem]:
    """Yield a warning for each timer that never fires, that summer time affects, or that runs more than once.

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
