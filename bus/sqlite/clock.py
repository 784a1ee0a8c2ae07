"""Store time: what `due` and `stored` are counted in. It survives a restart, and nobody can set it while we run.

Wall time alone fires a delay early when somebody sets the clock forward, and holds it when they set it back; monotonic
time alone means nothing after a restart. So store time starts at the wall clock when the store is opened, never before
the newest message in it, and goes on as CLOCK_MONOTONIC does.
"""

import time
from collections.abc import Callable
from typing import NamedTuple


class Clocks(NamedTuple):
    """Where the two times come from, in nanoseconds."""

    wall_ns: Callable[[], int] = time.time_ns
    monotonic_ns: Callable[[], int] = time.monotonic_ns


class StoreClock:
    """Store time, in nanoseconds since the epoch."""

    def __init__(self, clocks: Clocks, not_before_ns: int) -> None:
        self._clocks = clocks
        self._ahead_ns = max(clocks.wall_ns(), not_before_ns) - clocks.monotonic_ns()

    def now_ns(self) -> int:
        return self._clocks.monotonic_ns() + self._ahead_ns

    def wall_s(self, store_ns: int) -> float:
        """A moment of store time as the wall clock would name it now, in seconds.

        Subtracted from the wall clock's present time it gives the true age, also after the clock was set.
        """
        return (self._clocks.wall_ns() - self.now_ns() + store_ns) / 1e9
