"""Leases: which consumer has which message. They are only in memory, and belong to the writer thread. Pure.

When the process dies its leases are gone, so everything unsettled is ready again at once. Each queue has a position in
the table: all messages before it are leased or settled. A message that appears before it, because it was returned or is
due no later than the last one read, moves it back.
"""

from collections.abc import Collection
from typing import Any

from bus.sqlite.shelf import Count, Shelf
from bus.store import Source

_START = (-1, -1)


class Intake:
    """One consumer in the writer thread."""

    __slots__ = ("source",)

    def __init__(self, source: Source) -> None:
        self.source = source


class Lease:
    """One message, on the shelf of its queue or with a consumer.

    The event loop sets `intake`, then `handed`, when it hands the message out. `holder` is the loop's alone: the
    consumer that counts the message as unsettled.
    """

    __slots__ = ("due_ns", "handed", "holder", "id", "intake", "queue", "size_bytes")

    def __init__(self, message_id: int, due_ns: int, size_bytes: int, queue: str) -> None:
        self.id = message_id
        self.due_ns = due_ns
        self.size_bytes = size_bytes
        self.queue = queue
        self.intake: Intake | None = None
        self.handed = False
        self.holder: Any = None


class OpenQueue:
    """A queue with consumers."""

    def __init__(self, name: str, shelf: Shelf) -> None:
        self.name = name
        self.shelf = shelf
        self.count = shelf.count
        self.intakes: list[Intake] = []
        self.leases: dict[int, Lease] = {}
        self.position = _START
        """Due time and id of the last message read."""
        self.unread = True
        """Whether a message after the position may be ready."""
        self.next_due_ns: int | None = None
        """When the first message after the position is due, once all ready ones are read."""

    @property
    def room(self) -> int:
        """How many messages to read."""
        return self.shelf.room(self.count)

    def wants(self, now_ns: int) -> bool:
        """Whether to read it now."""
        return (self.unread or (self.next_due_ns is not None and self.next_due_ns <= now_ns)) and self.room > 0

    def lease(self, message_id: int, due_ns: int, size_bytes: int) -> Lease:
        """Lease a message for the shelf."""
        self.leases[message_id] = lease = Lease(message_id, due_ns, size_bytes, self.name)
        self.count.put_bytes += size_bytes
        self.count.put += 1
        return lease

    def arrived(self, message_id: int, due_ns: int) -> None:
        """Note a new or returned message."""
        self.position = min(self.position, (due_ns, message_id - 1))
        self.unread = True


class Leases:
    """All consumed queues, and their leases."""

    def __init__(self) -> None:
        self._queues: dict[str, OpenQueue] = {}
        self._active: dict[OpenQueue, None] = {}
        """Those that may have messages to read, now or later: of a thousand queues, most are empty."""
        self._maybe_run: set[int] = set()
        """Ids of messages that were handed out and left unsettled."""

    def open(self, intake: Intake, shelf: Shelf) -> None:
        """Add a consumer."""
        name = intake.source.queue
        queue = self._queues.get(name)
        if queue is None:
            queue = self._queues[name] = OpenQueue(name, shelf)
            self._active[queue] = None
        queue.intakes.append(intake)

    def close(self, intake: Intake) -> None:
        """Remove a consumer; its messages are ready again, and with the last one those on the shelf."""
        queue = self._queues[intake.source.queue]
        for lease in [each for each in queue.leases.values() if each.intake is intake]:
            self._maybe_run.add(lease.id)
            self.give_back(lease)
        queue.intakes.remove(intake)
        if not queue.intakes:
            del self._queues[queue.name]
            self._active.pop(queue, None)

    def recall(self, shelf: Shelf, count: Count) -> None:
        """Return the messages on the shelf. What is read from now on counts anew."""
        queue = self._queues.get(shelf.queue)
        if queue is None or queue.shelf is not shelf:
            return
        queue.count = count
        for lease in [each for each in queue.leases.values() if not each.handed]:
            self.give_back(lease)

    def holds(self, lease: Lease) -> bool:
        """Whether the lease is still valid."""
        queue = self._queues.get(lease.queue)
        return queue is not None and queue.leases.get(lease.id) is lease

    def settled(self, lease: Lease) -> None:
        """Remove the lease of a settled message."""
        del self._queues[lease.queue].leases[lease.id]
        self._maybe_run.discard(lease.id)

    def give_back(self, lease: Lease) -> None:
        """Return the message to its place in the queue."""
        del self._queues[lease.queue].leases[lease.id]
        self.arrived(lease.id, lease.queue, lease.due_ns)

    def arrived(self, message_id: int, queue: str, due_ns: int) -> None:
        """Note a stored or returned message."""
        found = self._queues.get(queue)
        if found is not None:
            found.arrived(message_id, due_ns)
            self._active[found] = None

    def of(self, queue: str) -> Collection[int]:
        """Return the ids of the queue's messages that consumers have. Those on the shelf are ready to all others."""
        leases = self._queues[queue].leases if queue in self._queues else {}
        return {key for key, lease in leases.items() if lease.handed}

    def maybe_run(self, message_id: int) -> bool:
        """Whether the message may have run with an outcome that was lost. Unknown after a restart."""
        return message_id in self._maybe_run

    def wanting(self, now_ns: int) -> list[OpenQueue]:
        """The queues to read now."""
        self._active = {queue: None for queue in self._active if queue.unread or queue.next_due_ns is not None}
        return [queue for queue in self._active if queue.wants(now_ns)]

    def next_due_ns(self) -> int | None:
        """When the next delayed message is due for which a consumer has room."""
        waiting = (queue for queue in self._active if queue.next_due_ns is not None and queue.room > 0)
        return min((queue.next_due_ns for queue in waiting if queue.next_due_ns is not None), default=None)
