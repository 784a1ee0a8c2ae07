"""A heap of things by the time at which they are due."""

from collections.abc import Iterator
from datetime import datetime
from heapq import heappop, heappush
from itertools import count
from typing import Generic, TypeVar

T = TypeVar("T")


class Alarms(Generic[T]):
    """Things by time; those with the same time in the order in which they were set."""

    def __init__(self) -> None:
        self._heap: list[tuple[datetime, int, T]] = []
        self._numbers = count()

    def set(self, at: datetime, thing: T) -> None:
        """Let `take` return it once, at `at` or later."""
        heappush(self._heap, (at, next(self._numbers), thing))

    def take(self, now: datetime) -> Iterator[tuple[datetime, T]]:
        """Remove and yield everything that is due with its time, the earliest first."""
        while self._heap and self._heap[0][0] <= now:
            at, _, thing = heappop(self._heap)
            yield at, thing

    @property
    def next(self) -> datetime | None:
        """When the earliest is due."""
        return self._heap[0][0] if self._heap else None
