"""A day of events in the shape of a public trace: the functions of a small service, and when each is called. Pure.

The shape is that of Azure Functions in July 2019, as published by Shahrad et al., "Serverless in the Wild" (USENIX ATC
2020). No data of the trace is used; the day is generated from these findings of the paper:

- 45 % of the applications are invoked once an hour or less on average, 81 % once a minute or less. So are 5 and 10 of
  the 12 functions here. In the paper the others have 99.6 % of all invocations; here they have 88 %, because what is
  busy all day costs every server the same.
- Half of the load is constant, the rest follows the hour: here from 1/2 of the mean at 4:00 to 3/2 of it at 16:00.
- For 40 % of the applications the times between invocations vary more than those of a Poisson process. Here 5 functions
  are called in bursts of 8 on average, within a minute. Timers, 16 % of the functions, are called at equal intervals.
- 15 % of the functions are called by queues, and 2 % by events; with the timers, that is a third.
"""

import math
import random
from collections.abc import Iterator
from typing import Literal, NamedTuple

DAY_S = 86_400.0
SEED = 2019
BURST, BURST_S = 8, 60.0
"""Mean size of a burst, and how long it takes."""


class Called(NamedTuple):
    """A function, and how it is called: over HTTP or by a message, how often a day, and in which manner."""

    name: str
    by: Literal["http", "message"]
    per_day: float
    manner: Literal["alone", "bursts", "timer"]


FUNCTIONS = (
    Called("login", "http", 8000, "alone"),
    Called("search", "http", 4000, "bursts"),
    Called("thumbnail", "message", 800, "bursts"),
    Called("order", "http", 400, "alone"),
    Called("health", "message", 288, "timer"),
    Called("invoice", "message", 96, "bursts"),
    Called("upload", "http", 48, "bursts"),
    Called("digest", "message", 24, "timer"),
    Called("export", "http", 16, "alone"),
    Called("import", "http", 8, "bursts"),
    Called("refund", "http", 4, "alone"),
    Called("settings", "http", 2, "alone"),
)


class Arrival(NamedTuple):
    """One event, at a second of the day."""

    at_s: float
    function: Called


def intensity(at_s: float) -> float:
    """The load at this second, as a multiple of its mean."""
    return 1 - math.cos(2 * math.pi * (at_s / DAY_S - 4 / 24)) / 2


def day(seed: int = SEED) -> list[Arrival]:
    """All events of a day, in order. The same seed brings the same day."""
    chance = random.Random(seed)
    return sorted(
        (Arrival(at_s, function) for function in FUNCTIONS for at_s in _times(function, chance)),
        key=lambda arrival: arrival.at_s,
    )


def _times(function: Called, chance: random.Random) -> Iterator[float]:
    if function.manner == "timer":
        gap_s = DAY_S / function.per_day
        yield from (number * gap_s for number in range(round(function.per_day)))
        return
    is_bursty = function.manner == "bursts"
    for at_s in _varying(function.per_day / (BURST if is_bursty else 1), chance):
        if not is_bursty:
            yield at_s
            continue
        size = 1
        while chance.random() >= 1 / BURST:  # geometric: its mean is BURST
            size += 1
        yield from (min(at_s + chance.random() * BURST_S, DAY_S) for _ in range(size))


def _varying(per_day: float, chance: random.Random) -> Iterator[float]:
    """The times of a Poisson process whose rate follows `intensity`, by thinning (Lewis and Shedler, 1979)."""
    most = 1.5
    at_s = chance.expovariate(most * per_day / DAY_S)
    while at_s < DAY_S:
        if chance.random() * most < intensity(at_s):
            yield at_s
        at_s += chance.expovariate(most * per_day / DAY_S)
