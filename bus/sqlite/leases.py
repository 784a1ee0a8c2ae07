"""Leases: which consumer has which message. They are only in memory, and belong to the writer thread. Pure.

When the process dies its leases are gone, so everything unsettled is ready again at once. Each queue has a position in
the table: all messages before it are leased or settled. A message that appears before it, because it was returned or is
due no later than the last one read, moves it back.
"""

from collections.abc import Callable, Collection, Iterator

from bus.message import Delivery
from bus.store import TAKEN_BYTES, Source

_START = (-1, -1)
ALL_TAKEN_BYTES = 4 * TAKEN_BYTES
"""The memory for the messages of all consumers; above it, each takes one at a time."""


class Total:
    """The bytes that all consumers of a store have taken."""

    __slots__ = ("taken_bytes",)

    def __init__(self) -> None:
        self.taken_bytes = 0


class Intake:
    """One consumer in the writer thread. `epoch` counts its pauses: deliveries read before a pause are dropped."""

    __slots__ = ("arrive", "epoch", "leased", "limit", "source", "taken_bytes", "total")

    def __init__(self, source: Source, limit: int, arrive: Callable[[int, Delivery], None]) -> None:
        self.source = source
        self.limit = limit
        self.leased = 0
        self.taken_bytes = 0
        self.total = Total()
        self.epoch = 0
        self.arrive = arrive

    @property
    def room(self) -> int:
        """How many more messages it takes."""
        if self.leased and (self.taken_bytes >= TAKEN_BYTES or self.total.taken_bytes >= ALL_TAKEN_BYTES):
            return 0
        return self.limit - self.leased

    def took(self, count: int, size_bytes: int) -> None:
        """Count more messages, or fewer, of this size in total."""
        self.leased += count
        self.taken_bytes += size_bytes
        self.total.taken_bytes += size_bytes


class Lease:
    """One message, leased to one consumer. The event loop sets `handed` when it hands the message out."""

    __slots__ = ("due_ns", "handed", "id", "intake", "size_bytes")

    def __init__(self, message_id: int, due_ns: int, size_bytes: int, intake: Intake) -> None:
        self.id = message_id
        self.due_ns = due_ns
        self.size_bytes = size_bytes
        self.intake = intake
        self.handed = False


class OpenQueue:
    """A queue with consumers."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.intakes: list[Intake] = []
        self.leases: dict[int, Lease] = {}
        self.position = _START
        """Due time and id of the last message read."""
        self.unread = True
        """Whether a message after the position may be ready."""
        self.next_due_ns: int | None = None
        """When the first message after the position is due, once all ready ones are read."""

    @property
    def has_room(self) -> bool:
        return any(intake.room > 0 for intake in self.intakes)

    def wants(self, now_ns: int) -> bool:
        """Whether to read it now."""
        return (self.unread or (self.next_due_ns is not None and self.next_due_ns <= now_ns)) and self.has_room

    @property
    def roomiest(self) -> Intake:
        """The consumer with the most room."""
        return max(self.intakes, key=lambda each: each.room)

    def lease(self, message_id: int, due_ns: int, size_bytes: int) -> Lease:
        """Lease a message to the consumer with the most room; at least one has room."""
        intake = self.roomiest
        intake.took(1, size_bytes)
        self.leases[message_id] = lease = Lease(message_id, due_ns, size_bytes, intake)
        return lease

    def arrived(self, message_id: int, due_ns: int) -> None:
        """Note a new or returned message."""
        self.position = min(self.position, (due_ns, message_id - 1))
        self.unread = True


class Leases:
    """All consumed queues, and their leases."""

    def __init__(self) -> None:
        self._queues: dict[str, OpenQueue] = {}
        self._total = Total()
        self._maybe_run: set[int] = set()
        """Ids of messages that were handed out and left unsettled."""

    def open(self, intake: Intake) -> None:
        """Add a consumer."""
        intake.total = self._total
        self._queues.setdefault(intake.source.queue, OpenQueue(intake.source.queue)).intakes.append(intake)

    def close(self, intake: Intake) -> None:
        """Remove a consumer; its messages are ready again."""
        queue = self._queues[intake.source.queue]
        for lease in [each for each in queue.leases.values() if each.intake is intake]:
            if lease.handed:
                self._maybe_run.add(lease.id)
            self.give_back(lease)
        queue.intakes.remove(intake)
        if not queue.intakes:
            del self._queues[queue.name]

    def pause(self, intake: Intake) -> None:
        """Let the consumer take nothing more; what it has not handed out is ready again."""
        intake.limit = 0
        intake.epoch += 1
        leases = self._queues[intake.source.queue].leases.values()
        for lease in [each for each in leases if each.intake is intake and not each.handed]:
            self.give_back(lease)

    def resume(self, intake: Intake, limit: int) -> None:
        """Let the consumer take up to `limit` messages again."""
        intake.limit = limit

    def holds(self, lease: Lease) -> bool:
        """Whether the lease is still valid."""
        queue = self._queues.get(lease.intake.source.queue)
        return queue is not None and queue.leases.get(lease.id) is lease

    def settled(self, lease: Lease) -> None:
        """Remove the lease of a settled message."""
        del self._queues[lease.intake.source.queue].leases[lease.id]
        lease.intake.took(-1, -lease.size_bytes)
        self._maybe_run.discard(lease.id)

    def give_back(self, lease: Lease) -> None:
        """Return the message to its place in the queue."""
        queue = self._queues[lease.intake.source.queue]
        del queue.leases[lease.id]
        lease.intake.took(-1, -lease.size_bytes)
        queue.arrived(lease.id, lease.due_ns)

    def arrived(self, message_id: int, queue: str, due_ns: int) -> None:
        """Note a stored message."""
        if queue in self._queues:
            self._queues[queue].arrived(message_id, due_ns)

    def of(self, queue: str) -> Collection[int]:
        """Return the ids of the queue's leased messages."""
        return self._queues[queue].leases.keys() if queue in self._queues else ()

    def maybe_run(self, message_id: int) -> bool:
        """Whether the message may have run with an outcome that was lost. Unknown after a restart."""
        return message_id in self._maybe_run

    def wanting(self, now_ns: int) -> Iterator[OpenQueue]:
        """The queues to read now."""
        return (queue for queue in self._queues.values() if queue.wants(now_ns))

    def next_due_ns(self) -> int | None:
        """When the next delayed message is due for which a consumer has room."""
        due = (queue.next_due_ns for queue in self._queues.values() if queue.has_room)
        return min((each for each in due if each is not None), default=None)
