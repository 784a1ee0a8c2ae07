"""Store time, in which `due` and `stored` are measured. It survives a restart, and cannot be set while we run.

With wall time alone, a delay would end early if the clock is set forward, and late if it is set back; monotonic time
means nothing after a restart. So store time starts at the wall clock when the store is opened and then follows
CLOCK_MONOTONIC. The store keeps what both showed at one moment (`Reading`). If they have diverged, because the clock
was set while we ran or was ahead at the last start, the next start moves the stored times as far as the wall clock
moved: a retry that was due in 20 s still is, even if its time came from a clock that was 9 hours ahead.

Only the wall clock can tell how long the store was closed. If it was set meanwhile, the change counts as time that
passed; if it shows less than before, no time passed.
"""

import time
from collections.abc import Callable
from typing import NamedTuple

TOLERANCE_NS = 60 * 10**9
"""How far the two may diverge unnoticed: clocks are slewed, and a reading may be as old as `NOTE_NS`."""
NOTE_NS = 60 * 10**9
_STEP_NS = 10**9
"""A change of their difference that is stored at once."""


class Clocks(NamedTuple):
    """The sources of both times, in nanoseconds."""

    wall_ns: Callable[[], int] = time.time_ns
    monotonic_ns: Callable[[], int] = time.monotonic_ns


class Reading(NamedTuple):
    """Store time and the wall clock at one moment."""

    store_ns: int
    wall_ns: int

    @property
    def ahead_ns(self) -> int:
        return self.store_ns - self.wall_ns


class Shift(NamedTuple):
    """How far to move stored times: store time was `was_ns`, and is `now_ns` from now on."""

    was_ns: int
    now_ns: int

    @property
    def by_ns(self) -> int:
        return self.now_ns - self.was_ns


def opened(last: Reading | None, wall_ns: int) -> tuple[int, Shift | None]:
    """Return the store time at opening, given the last reading, and the shift if stored times have to move."""
    if last is None:
        return wall_ns, None
    was_ns = last.store_ns + max(0, wall_ns - last.wall_ns)
    if abs(was_ns - wall_ns) <= TOLERANCE_NS:
        return max(was_ns, wall_ns), None
    return wall_ns, Shift(was_ns, wall_ns)


class StoreClock:
    """Store time, in nanoseconds since the epoch."""

    def __init__(self, clocks: Clocks, now_ns: int) -> None:
        self._clocks = clocks
        self._ahead_ns = now_ns - clocks.monotonic_ns()
        self._noted: Reading | None = None

    def now_ns(self) -> int:
        return self._clocks.monotonic_ns() + self._ahead_ns

    def wall_s(self, store_ns: int) -> float:
        """Convert a store time to what the present wall clock would have shown then, in seconds.

        Subtracting it from the present wall clock gives the true age, even after the clock was set.
        """
        return (self._clocks.wall_ns() - self.now_ns() + store_ns) / 1e9

    def reading(self) -> Reading:
        return Reading(self.now_ns(), self._clocks.wall_ns())

    def news(self) -> Reading | None:
        """Return a reading to store if the last one is old or the wall clock was set since, else None."""
        reading, noted = self.reading(), self._noted
        if noted is None or reading.store_ns - noted.store_ns >= NOTE_NS or self._was_set_ns(reading) > _STEP_NS:
            return reading
        return None

    def note(self, reading: Reading) -> int:
        """Note that a reading is stored. Return how far the clock was set since the last; 0 within `TOLERANCE_NS`."""
        set_ns = 0 if self._noted is None else self._noted.ahead_ns - reading.ahead_ns
        self._noted = reading
        return set_ns if abs(set_ns) > TOLERANCE_NS else 0

    def _was_set_ns(self, reading: Reading) -> int:
        return 0 if self._noted is None else abs(reading.ahead_ns - self._noted.ahead_ns)
