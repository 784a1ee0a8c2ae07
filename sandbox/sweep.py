"""One timer for all deadlines and memory checks of the process tree, instead of one per call.

A warm call only compares two integers (`expect`). While an instance is busy, the timer is armed at most `WATCH_S`
ahead; with idle instances only, up to 2 s ahead; with no process at all, it is not armed.
"""

import asyncio
import time
from typing import Protocol

WATCH_S = 0.25
"""How often the memory of a busy process is measured."""


class Watched(Protocol):
    """Something with deadlines."""

    def tick(self, now_ns: int) -> int | None:
        """Do what is due. Returns when to be called next (CLOCK_MONOTONIC ns), or None: only after another `expect`."""


class Sweep:
    """Ticks everything that is watched, at the earliest time that was asked for."""

    def __init__(self) -> None:
        self._watched: set[Watched] = set()
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ns = 0

    def add(self, watched: Watched) -> None:
        """Tick `watched` from now on."""
        self._watched.add(watched)

    def remove(self, watched: Watched) -> None:
        """Stop ticking `watched`. Idempotent."""
        self._watched.discard(watched)

    def expect(self, at_ns: int) -> None:
        """Ensure a tick at `at_ns` at the latest."""
        if self._timer is not None:
            if self._timer_ns <= at_ns:
                return
            self._timer.cancel()
        self._timer_ns = at_ns
        self._timer = self._loop.call_later(max(0.0, (at_ns - time.monotonic_ns()) / 1e9), self._run)

    def close(self) -> None:
        """Stop all ticks."""
        self._watched.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _run(self) -> None:
        self._timer = None
        now_ns = time.monotonic_ns()
        for watched in tuple(self._watched):
            if watched not in self._watched:  # removed by another one's tick
                continue
            try:
                at_ns = watched.tick(now_ns)
            except Exception as error:  # one failing tick must not stop the deadlines of all others
                self._loop.call_exception_handler({"message": f"the tick of {watched!r} failed", "exception": error})
                continue
            if at_ns is not None:
                self.expect(at_ns)
