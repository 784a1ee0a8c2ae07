"""What a consumer knows besides what the broker tells: which retries are due, and what was held for too long. Pure."""

import heapq

from bus.message import Delivery
from bus.rabbitmq.letters import digest

_MOST = 10_000


class Retries:
    """When the retries that this node has stored are due (CLOCK_MONOTONIC); others are asked for now and then."""

    def __init__(self) -> None:
        self._due_s: list[float] = []

    def add(self, due_s: float) -> None:
        """One will be ready then. Of very many some are forgotten: who comes for one finds the others."""
        if len(self._due_s) < _MOST:
            heapq.heappush(self._due_s, due_s)

    def are_due(self, now_s: float) -> bool:
        """Whether there are any; they are forgotten then."""
        found = False
        while self._due_s and self._due_s[0] <= now_s:
            heapq.heappop(self._due_s)
            found = True
        return found

    def next_s(self, now_s: float, most_s: float) -> float:
        """How long until one is due, at most `most_s`."""
        return min(most_s, max(0.0, self._due_s[0] - now_s)) if self._due_s else most_s


class Overruns:
    """Messages that the broker took away because they were held for longer than its `consumer_timeout`.

    They come again as they first came, so that their attempts are remembered here.
    """

    def __init__(self) -> None:
        self._attempts: dict[str, int] = {}

    def note(self, delivery: Delivery) -> None:
        """This attempt at it was one."""
        if len(self._attempts) < _MOST:
            self._attempts[_key(delivery)] = delivery.attempt

    def attempt_of(self, delivery: Delivery) -> int:
        """Which attempt this one is."""
        if not (self._attempts and delivery.redelivered):
            return delivery.attempt
        return max(delivery.attempt, self._attempts.pop(_key(delivery), 0) + 1)


def _key(delivery: Delivery) -> str:
    return digest(delivery.lease.properties, delivery.message.body)
