"""How many messages a consumer may hold: as many as can run, or fewer if the messages are large. Pure.

RabbitMQ limits deliveries by number, not by size, and delivers as many as it may at once. So a consumer begins with a
few places and gets more once it knows how large its messages are. If they become larger, it gets fewer places, and
keeps the messages it holds. This matters for batches: 8 instances that each take 1,000 messages have 8,000 places.
"""

from bus.store import TAKEN_BYTES

FIRST = 32
LEAST = 2
"""One for each of the two queues."""
_STEP = 4
_WEIGHT = 1 / 32
"""Weight of the latest message in the mean size."""


class Places:
    """`most` is how many messages can run; `now` is the number of places."""

    def __init__(self, most: int) -> None:
        self.now = min(most, FIRST)
        self._most = most
        self._mean_bytes = 0.0
        self._seen = 0
        """Messages since the last increase of `now`."""

    def saw(self, size_bytes: int) -> None:
        """Take the size of a message into account."""
        self._seen += 1
        self._mean_bytes += (size_bytes - self._mean_bytes) * (_WEIGHT if self._mean_bytes else 1.0)

    def deal(self) -> int:
        """Return the new number of places.

        It falls once half of the places, or fewer, are affordable. It rises once half as many messages have come.
        """
        wanted = min(self._most, max(LEAST, int(TAKEN_BYTES / max(1.0, self._mean_bytes))))
        if wanted <= self.now // 2:
            self.now = wanted
        elif wanted > self.now and self._seen >= self.now // 2:
            self.now = min(wanted, self.now * _STEP)
            self._seen = 0
        return self.now
