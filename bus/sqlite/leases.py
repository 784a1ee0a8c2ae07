"""Who has which message: leases, in memory alone and owned by the writer thread. Pure.

A process that dies takes its leases along, so that everything unsettled is ready again at once. What is read from the
table is found by a position per queue: all that lies before it is leased or settled. A message that comes to lie before
it, because it was given back, or is due no later than what was read last, moves it back.
"""

from collections.abc import Callable, Collection, Iterator

from bus.message import Delivery
from bus.store import TAKEN_BYTES, Source

_START = (-1, -1)
ALL_TAKEN_BYTES = 4 * TAKEN_BYTES
"""What all consumers together have of messages; over it, each takes one at a time."""


class Total:
    """What all consumers of a store have, in bytes."""

    __slots__ = ("taken_bytes",)

    def __init__(self) -> None:
        self.taken_bytes = 0


class Intake:
    """One consumer as the writer thread sees it. `epoch` counts its pauses: what was read before one never counts."""

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
        """How many more it takes."""
        if self.leased and (self.taken_bytes >= TAKEN_BYTES or self.total.taken_bytes >= ALL_TAKEN_BYTES):
            return 0
        return self.limit - self.leased

    def took(self, count: int, size_bytes: int) -> None:
        """So many more, or fewer, of this size together."""
        self.leased += count
        self.taken_bytes += size_bytes
        self.total.taken_bytes += size_bytes


class Lease:
    """One message, leased to one consumer. `handed` is set in the event loop, when it is given to who waits for it."""

    __slots__ = ("due_ns", "handed", "id", "intake", "size_bytes")

    def __init__(self, message_id: int, due_ns: int, size_bytes: int, intake: Intake) -> None:
        self.id = message_id
        self.due_ns = due_ns
        self.size_bytes = size_bytes
        self.intake = intake
        self.handed = False


class OpenQueue:
    """A queue that has consumers."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.intakes: list[Intake] = []
        self.leases: dict[int, Lease] = {}
        self.position = _START
        """Due time and id of the last message read."""
        self.unread = True
        """Whether something may be ready behind the position."""
        self.next_due_ns: int | None = None
        """When the first one behind the position is due, if all that is ready was read."""

    @property
    def has_room(self) -> bool:
        return any(intake.room > 0 for intake in self.intakes)

    def wants(self, now_ns: int) -> bool:
        """Whether it should be read now."""
        return (self.unread or (self.next_due_ns is not None and self.next_due_ns <= now_ns)) and self.has_room

    @property
    def roomiest(self) -> Intake:
        """The consumer that has most room."""
        return max(self.intakes, key=lambda each: each.room)

    def lease(self, message_id: int, due_ns: int, size_bytes: int) -> Lease:
        """To the consumer that has most room; some has."""
        intake = self.roomiest
        intake.took(1, size_bytes)
        self.leases[message_id] = lease = Lease(message_id, due_ns, size_bytes, intake)
        return lease

    def arrived(self, message_id: int, due_ns: int) -> None:
        """A message lies there that was not there before."""
        self.position = min(self.position, (due_ns, message_id - 1))
        self.unread = True


class Leases:
    """All queues that are consumed, and what of them is leased."""

    def __init__(self) -> None:
        self._queues: dict[str, OpenQueue] = {}
        self._total = Total()
        self._maybe_run: set[int] = set()
        """Ids of messages that a consumer left unsettled after they were handed out."""

    def open(self, intake: Intake) -> None:
        """From now on the consumer takes part."""
        intake.total = self._total
        self._queues.setdefault(intake.source.queue, OpenQueue(intake.source.queue)).intakes.append(intake)

    def close(self, intake: Intake) -> None:
        """The consumer is gone, and all it had is ready again."""
        queue = self._queues[intake.source.queue]
        for lease in [each for each in queue.leases.values() if each.intake is intake]:
            if lease.handed:
                self._maybe_run.add(lease.id)
            self.give_back(lease)
        queue.intakes.remove(intake)
        if not queue.intakes:
            del self._queues[queue.name]

    def pause(self, intake: Intake) -> None:
        """The consumer takes nothing, and what it had not handed out is ready again."""
        intake.limit = 0
        intake.epoch += 1
        leases = self._queues[intake.source.queue].leases.values()
        for lease in [each for each in leases if each.intake is intake and not each.handed]:
            self.give_back(lease)

    def resume(self, intake: Intake, limit: int) -> None:
        """The consumer takes again, `limit` at most."""
        intake.limit = limit

    def holds(self, lease: Lease) -> bool:
        """Whether it is still good."""
        queue = self._queues.get(lease.intake.source.queue)
        return queue is not None and queue.leases.get(lease.id) is lease

    def settled(self, lease: Lease) -> None:
        """The message is gone from its place."""
        del self._queues[lease.intake.source.queue].leases[lease.id]
        lease.intake.took(-1, -lease.size_bytes)
        self._maybe_run.discard(lease.id)

    def give_back(self, lease: Lease) -> None:
        """The message is ready again, where it was."""
        queue = self._queues[lease.intake.source.queue]
        del queue.leases[lease.id]
        lease.intake.took(-1, -lease.size_bytes)
        queue.arrived(lease.id, lease.due_ns)

    def arrived(self, message_id: int, queue: str, due_ns: int) -> None:
        """A message was stored."""
        if queue in self._queues:
            self._queues[queue].arrived(message_id, due_ns)

    def of(self, queue: str) -> Collection[int]:
        """The ids of its messages that are leased."""
        return self._queues[queue].leases.keys() if queue in self._queues else ()

    def maybe_run(self, message_id: int) -> bool:
        """Whether it may have been run, with an outcome that nobody recorded; after a restart nobody can tell."""
        return message_id in self._maybe_run

    def wanting(self, now_ns: int) -> Iterator[OpenQueue]:
        """The queues to read now."""
        return (queue for queue in self._queues.values() if queue.wants(now_ns))

    def next_due_ns(self) -> int | None:
        """When the next delay ends for which some consumer has room."""
        due = (queue.next_due_ns for queue in self._queues.values() if queue.has_room)
        return min((each for each in due if each is not None), default=None)
