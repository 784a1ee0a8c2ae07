"""A heap of timers by the time at which each is next to be looked at: nothing else waits for anything."""

from collections.abc import Iterator
from datetime import datetime
from heapq import heappop, heappush
from itertools import count
from typing import Generic, TypeVar

T = TypeVar("T")


class Alarms(Generic[T]):
    """Things by time; those of the same time in the order they were set."""

    def __init__(self) -> None:
        self._heap: list[tuple[datetime, int, T]] = []
        self._numbers = count()

    def set(self, at: datetime, thing: T) -> None:
        """It comes out at `at`, once."""
        heappush(self._heap, (at, next(self._numbers), thing))

    def take(self, now: datetime) -> Iterator[tuple[datetime, T]]:
        """All that are due, the earliest first, each with its time."""
        while self._heap and self._heap[0][0] <= now:
            at, _, thing = heappop(self._heap)
            yield at, thing

    @property
    def next(self) -> datetime | None:
        """When the earliest is due."""
        return self._heap[0][0] if self._heap else None
