"""Messages that the thread has read ahead, and the consumers that take them.

Theory of operation. A commit waits for the disk, and a round of the thread costs far more than a message. So the thread
reads a few messages more than the consumers of a queue have room for, and these wait on the queue's shelf in the event
loop. A consumer takes the next one as soon as it has room: at the moment in which it hands over a settlement, not when
that is committed. So settlements gather during a commit, and one round settles and reads many messages.

A message on the shelf belongs to no consumer yet. It counts as ready, and whoever has room first gets it. It is leased
nevertheless, so that it is not read twice.

The two threads share a shelf without a lock, because each field has one writer, and each is a plain value. The event
loop may empty the shelf at any time (`recall`): what the thread has read by then counts to the old `Count`, which is
how the loop recognises it when it arrives, and the thread returns all that was not handed out.
"""

from bisect import insort
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from bus.message import Delivery

AHEAD = 64
"""How many messages are read ahead: about as many as short handlers run during one commit."""
AHEAD_BYTES = 1024 * 1024
"""The most that they have together, unless one message has more."""


class Taker(Protocol):
    """A consumer, as the shelf sees it."""

    @property
    def room(self) -> int:
        """How many more messages it would take; the thread asks too."""

    @property
    def is_taking(self) -> bool:
        """Whether it is neither paused nor closed; the thread asks too."""

    def notify(self) -> None:
        """Messages are on the shelf."""


class Count:
    """How much was put on a shelf, written by the thread, and taken from it, written by the event loop."""

    __slots__ = ("put", "put_bytes", "taken", "taken_bytes")

    def __init__(self) -> None:
        self.put = self.put_bytes = self.taken = self.taken_bytes = 0


class Shelf:
    """One queue's. `read_on` has the thread read again, `recalled` has it return what was not handed out."""

    def __init__(self, queue: str, read_on: Callable[[], None], recalled: Callable[["Shelf", Count], None]) -> None:
        self.queue = queue
        self.takers: tuple[Taker, ...] = ()
        """Replaced, never changed, because the thread reads it."""
        self.count = Count()
        self.has_more = False
        """Whether the thread stopped reading for lack of room. It sets it before the messages arrive."""
        self.closings = 0
        """While it is above 0, nothing is read ahead."""
        self._here: deque[Delivery] = deque()
        self._read_on = read_on
        self._recalled = recalled
        self._turn = 0

    def __len__(self) -> int:
        return len(self._here)

    def room(self, count: Count) -> int:
        """In the thread: how many more messages to read, given what it has counted."""
        takers = [taker for taker in self.takers if taker.is_taking]
        if self.closings or not takers:
            return 0
        waiting = count.put - count.taken
        if waiting and count.put_bytes - count.taken_bytes >= AHEAD_BYTES:
            return 0
        return sum(max(0, taker.room) for taker in takers) + AHEAD - waiting

    def arrive(self, count: Count, deliveries: list[Delivery]) -> None:
        """Put messages on the shelf, unless they were recalled meanwhile."""
        if count is not self.count:
            return
        for delivery in deliveries:
            if self._here and _place(delivery) < _place(self._here[-1]):  # one that was returned
                insort(self._here, delivery, key=_place)
            else:
                self._here.append(delivery)
        self.offer()

    def offer(self) -> None:
        """Notify the consumers, a different one first each time."""
        takers, self._turn = self.takers, self._turn + 1
        for number in range(len(takers)):
            if self._here:
                takers[(self._turn + number) % len(takers)].notify()

    def take(self) -> Delivery | None:
        """Return the next message."""
        if not self._here:
            return None
        delivery = self._here.popleft()
        self.count.taken_bytes += delivery.lease.size_bytes
        self.count.taken += 1
        if not self._here and self.has_more:
            self.has_more = False
            self._read_on()
        return delivery

    def recall(self) -> None:
        """Empty the shelf: its messages are ready again."""
        self._here.clear()
        self.count = Count()
        self._recalled(self, self.count)


def _place(delivery: Delivery) -> Any:
    return delivery.lease.due_ns, delivery.lease.id
