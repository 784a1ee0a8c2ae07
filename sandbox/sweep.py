"""One timer for all deadlines and memory checks of the process tree, instead of one per call.

Whatever has deadlines has a `Watch`, which knows when its next tick is due; only what is due is ticked, so a thousand
functions at rest cost nothing. A warm call only compares two integers (`Watch.expect`), because the tick of a busy
instance is at most `WATCH_S` away. Without any deadline, the timer is not armed.
"""

import asyncio
import time
from collections import deque
from heapq import heappop, heappush
from itertools import count
from typing import Protocol

WATCH_S = 0.25
"""How often the memory of a busy process is measured."""
NEVER_NS = 2**63 - 1
TURN_NS = 500_000
"""For how long one turn of the event loop ticks what is due: the rest has to wait for what else the loop has to do."""


class Watched(Protocol):
    """Something with deadlines."""

    def tick(self, now_ns: int) -> int | None:
        """Do what is due. Returns when to be called next (CLOCK_MONOTONIC ns), or None: only after another `expect`."""


class Watch:
    """When one watched thing is ticked next. Made by `Sweep.watch`."""

    def __init__(self, sweep: "Sweep", watched: Watched) -> None:
        self._sweep = sweep
        self.watched: Watched | None = watched
        """None once it has ended. Its old entries on the heap do not keep the thing itself alive."""
        self.due_ns = NEVER_NS

    def expect(self, at_ns: int) -> None:
        """Ensure a tick at `at_ns` at the latest."""
        if at_ns < self.due_ns and self.watched is not None:
            self.due_ns = at_ns
            self._sweep.push(self, at_ns)

    def end(self) -> None:
        """No more ticks. Idempotent."""
        self.watched = None


class Sweep:
    """Ticks everything that is watched when it is due."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Watch]] = []
        """Also entries that are void, because their watch has been put forward or has ended."""
        self._due: deque[Watch] = deque()
        """What is due and has not been ticked yet."""
        self._numbers = count()
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ns = 0
        self._is_closed = False

    def watch(self, watched: Watched) -> Watch:
        """Tick `watched` whenever its watch says so."""
        return Watch(self, watched)

    def push(self, watch: Watch, at_ns: int) -> None:
        """`watch` is due at `at_ns`."""
        if self._is_closed:
            return
        heappush(self._heap, (at_ns, next(self._numbers), watch))
        if self._timer is None or at_ns < self._timer_ns:
            self._arm(at_ns)

    def close(self) -> None:
        """Stop all ticks."""
        self._is_closed = True
        self._heap.clear()
        self._due.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, at_ns: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_ns = at_ns
        self._timer = self._loop.call_later(max(0.0, (at_ns - time.monotonic_ns()) / 1e9), self._run)

    def _run(self) -> None:
        now_ns = time.monotonic_ns()
        self._timer_ns = now_ns  # the ticks below arm nothing: it is done once, after them
        self._collect(now_ns)
        while self._due:
            self._tick(self._due.popleft(), now_ns)
            if time.monotonic_ns() >= now_ns + TURN_NS:
                break
        self._timer = None
        if self._due:
            self._arm(now_ns)
        elif self._heap:
            self._arm(self._heap[0][0])

    def _collect(self, now_ns: int) -> None:
        while self._heap and self._heap[0][0] <= now_ns:
            at_ns, _, watch = heappop(self._heap)
            if watch.due_ns == at_ns:
                watch.due_ns = NEVER_NS
                self._due.append(watch)

    def _tick(self, watch: Watch, now_ns: int) -> None:
        watched = watch.watched
        if watched is None:  # perhaps ended by another one's tick
            return
        try:
            at_ns = watched.tick(now_ns)
        except Exception as error:  # one failing tick must not stop the deadlines of all others
            self._loop.call_exception_handler({"message": f"the tick of {watched!r} failed", "exception": error})
            return
        if at_ns is not None:
            watch.expect(at_ns)
