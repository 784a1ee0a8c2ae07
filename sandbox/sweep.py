"""One timer for everything that has a deadline or must be watched: no timer per call.

A warm call only compares two integers (`expect`): while anything is busy the timer is armed at most `WATCH_S` ahead,
while there are instances that are idle, a few times further, and when nothing lives it is not armed at all.
"""

import asyncio
import time
from typing import Protocol

WATCH_S = 0.25
"""How often the memory of busy processes is looked at."""


class Watched(Protocol):
    """Something with deadlines."""

    def tick(self, now_ns: int) -> int | None:
        """Do what is due, and say when to come again (CLOCK_MONOTONIC ns), or None: not before `expect` is called."""


class Sweep:
    """Ticks everything that is watched, at the earliest time any of it asked for."""

    def __init__(self) -> None:
        self._watched: set[Watched] = set()
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ns = 0

    def add(self, watched: Watched) -> None:
        """Tick it from now on."""
        self._watched.add(watched)

    def remove(self, watched: Watched) -> None:
        """Forget it; forgetting twice does nothing."""
        self._watched.discard(watched)

    def expect(self, at_ns: int) -> None:
        """Make sure of a tick at `at_ns` at the latest."""
        if self._timer is not None:
            if self._timer_ns <= at_ns:
                return
            self._timer.cancel()
        self._timer_ns = at_ns
        self._timer = self._loop.call_later(max(0.0, (at_ns - time.monotonic_ns()) / 1e9), self._run)

    def close(self) -> None:
        """No more ticks."""
        self._watched.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _run(self) -> None:
        self._timer = None
        now_ns = time.monotonic_ns()
        for watched in tuple(self._watched):
            if watched not in self._watched:  # the tick of another has removed it
                continue
            try:
                at_ns = watched.tick(now_ns)
            except Exception as error:  # one that fails must not take the deadlines of all others with it
                self._loop.call_exception_handler({"message": f"the tick of {watched!r} failed", "exception": error})
                continue
            if at_ns is not None:
                self.expect(at_ns)
