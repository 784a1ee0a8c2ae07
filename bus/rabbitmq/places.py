"""How many messages of a consumer may be here at once: as many as can run, unless they are too large for that. Pure.

RabbitMQ limits what it delivers by number and not by size, and it delivers at once all that it may. So a consumer
begins with a few places and gets more as it sees how large its messages are. If they become larger, it gets fewer, and
what is here stays. Batches make this matter: 8 instances that each take 1,000 have 8,000 places.
"""

from bus.store import TAKEN_BYTES

FIRST = 32
LEAST = 2
"""One for each of the two queues."""
_STEP = 4
_WEIGHT = 1 / 32
"""Of the latest message in the mean of sizes."""


class Places:
    """`most` is what can run; `now` what there are."""

    def __init__(self, most: int) -> None:
        self.now = min(most, FIRST)
        self._most = most
        self._mean_bytes = 0.0
        self._seen = 0
        """Since there were more places the last time."""

    def saw(self, size_bytes: int) -> None:
        """A message came."""
        self._seen += 1
        self._mean_bytes += (size_bytes - self._mean_bytes) * (_WEIGHT if self._mean_bytes else 1.0)

    def deal(self) -> int:
        """How many there are from now on: fewer if half of them have to do, more once half as many messages came."""
        wanted = min(self._most, max(LEAST, int(TAKEN_BYTES / max(1.0, self._mean_bytes))))
        if wanted <= self.now // 2:
            self.now = wanted
        elif wanted > self.now and self._seen >= self.now // 2:
            self.now = min(wanted, self.now * _STEP)
            self._seen = 0
        return self.now
