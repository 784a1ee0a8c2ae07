"""Store time: what `due` and `stored` are counted in. It survives a restart, and nobody can set it while we run.

Wall time alone fires a delay early when somebody sets the clock forward, and holds it when they set it back; monotonic
time alone means nothing after a restart. So store time starts at the wall clock when the store is opened, and goes on
as CLOCK_MONOTONIC does. What both said at one moment is kept in the store (`Reading`). If they had parted, because the
clock was set while we ran or ran ahead at the last start, the next start moves what is stored as far as the wall clock
went: a retry that was 20 s away still is, although it was counted from a clock that was 9 hours ahead.

What passed while the store was closed only the wall clock can tell, so a clock that was set meanwhile counts as time
that passed; if it shows less than before, none did.
"""

import time
from collections.abc import Callable
from typing import NamedTuple

TOLERANCE_NS = 60 * 10**9
"""How far the two may part without a word: clocks are slewed, and a reading may be as old as `NOTE_NS`."""
NOTE_NS = 60 * 10**9
_STEP_NS = 10**9
"""A change of the distance between the two that is noted at once."""


class Clocks(NamedTuple):
    """Where the two times come from, in nanoseconds."""

    wall_ns: Callable[[], int] = time.time_ns
    monotonic_ns: Callable[[], int] = time.monotonic_ns


class Reading(NamedTuple):
    """What store time and the wall clock were at one moment."""

    store_ns: int
    wall_ns: int

    @property
    def ahead_ns(self) -> int:
        return self.store_ns - self.wall_ns


class Shift(NamedTuple):
    """How far what is stored has to be moved: store time was `was_ns`, and is `now_ns` from here on."""

    was_ns: int
    now_ns: int

    @property
    def by_ns(self) -> int:
        return self.now_ns - self.was_ns


def opened(last: Reading | None, wall_ns: int) -> tuple[int, Shift | None]:
    """Store time when a store is opened, given its last reading, and the shift if what is stored has to be moved."""
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
        """A moment of store time as the wall clock would name it now, in seconds.

        Subtracted from the wall clock's present time it gives the true age, also after the clock was set.
        """
        return (self._clocks.wall_ns() - self.now_ns() + store_ns) / 1e9

    def reading(self) -> Reading:
        return Reading(self.now_ns(), self._clocks.wall_ns())

    def news(self) -> Reading | None:
        """A reading that should be stored: the last is old, or the wall clock was set since."""
        reading, noted = self.reading(), self._noted
        if noted is None or reading.store_ns - noted.store_ns >= NOTE_NS or self._was_set_ns(reading) > _STEP_NS:
            return reading
        return None

    def note(self, reading: Reading) -> int:
        """It is stored. Returns by how much the wall clock was set since the last; 0 if it was not, or by little."""
        set_ns = 0 if self._noted is None else self._noted.ahead_ns - reading.ahead_ns
        self._noted = reading
        return set_ns if abs(set_ns) > TOLERANCE_NS else 0

    def _was_set_ns(self, reading: Reading) -> int:
        return 0 if self._noted is None else abs(reading.ahead_ns - self._noted.ahead_ns)
