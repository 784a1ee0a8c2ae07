"""A consumer's own knowledge: which retries are due, and which messages were held for too long. Pure."""

import heapq

from bus.message import Delivery
from bus.rabbitmq.letters import digest

_MOST = 10_000


class Retries:
    """When the retries stored by this node are due (CLOCK_MONOTONIC). The consumer polls for those of other nodes."""

    def __init__(self) -> None:
        self._due_s: list[float] = []

    def add(self, due_s: float) -> None:
        """Expect a retry at this time. Beyond `_MOST` they are dropped: fetching one finds the others."""
        if len(self._due_s) < _MOST:
            heapq.heappush(self._due_s, due_s)

    def are_due(self, now_s: float) -> bool:
        """Return whether any retries are due, and forget those."""
        found = False
        while self._due_s and self._due_s[0] <= now_s:
            heapq.heappop(self._due_s)
            found = True
        return found

    def next_s(self, now_s: float, most_s: float) -> float:
        """Return the time until the next one is due, at most `most_s`."""
        return min(most_s, max(0.0, self._due_s[0] - now_s)) if self._due_s else most_s


class Overruns:
    """Messages that the broker took back because they were held for longer than its `consumer_timeout`.

    The broker redelivers them unchanged, so their attempts are remembered here.
    """

    def __init__(self) -> None:
        self._attempts: dict[str, int] = {}

    def note(self, delivery: Delivery) -> None:
        """Remember that the broker took this message back during this attempt."""
        if len(self._attempts) < _MOST:
            self._attempts[_key(delivery)] = delivery.attempt

    def attempt_of(self, delivery: Delivery) -> int:
        """Return the number of this attempt."""
        if not (self._attempts and delivery.redelivered):
            return delivery.attempt
        return max(delivery.attempt, self._attempts.pop(_key(delivery), 0) + 1)


def _key(delivery: Delivery) -> str:
    return digest(delivery.lease.properties, delivery.message.body)
