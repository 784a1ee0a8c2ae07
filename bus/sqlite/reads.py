"""Reading: deliveries for consumers that have room, statistics and browsing."""

import sqlite3
from typing import Any, NamedTuple

from bus.message import LAST_ERROR, REASON, Delivery, Message
from bus.sqlite.clock import StoreClock
from bus.sqlite.leases import Intake, Leases, OpenQueue
from bus.sqlite.mending import CLOCK
from bus.sqlite.rows import UnreadableRowError, message
from bus.sqlite.shelf import AHEAD_BYTES, Count, Shelf
from bus.store import QueueStatistics, Stored

_BEHIND = (
    "SELECT id, due_ns, stored_ns, attempts, first_error, envelope, body FROM messages "
    "WHERE queue = ? AND (due_ns, id) > (?, ?) ORDER BY due_ns, id"
)
_COUNTS = "SELECT count(*), coalesce(sum(due_ns <= ?), 0) FROM messages WHERE queue = ?"
_DUE = "SELECT id, due_ns FROM messages WHERE queue = ? AND due_ns <= ? ORDER BY due_ns, id"
_BROWSE = (  # the length of a blob is known without reading it
    "SELECT id, stored_ns, envelope, length(body), x'' FROM messages WHERE queue = ? AND due_ns <= ? "
    "AND id NOT IN (SELECT value FROM json_each(?)) ORDER BY due_ns, id LIMIT ? OFFSET ?"
)
_FETCH = (
    "SELECT id, stored_ns, envelope, length(body), CAST(body AS BLOB) FROM messages "
    "WHERE id = ? AND queue = ? AND due_ns <= ?"
)
_RECALL = "SELECT name, value FROM facts WHERE substr(name, 1, length(?1)) = ?1 AND name != ?2"

_NAMES = (  # by steps over the index, not over all messages
    "WITH RECURSIVE names(name) AS (SELECT min(queue) FROM messages UNION ALL "
    "SELECT (SELECT min(queue) FROM messages WHERE queue > name) FROM names WHERE name IS NOT NULL) "
    "SELECT name FROM names WHERE name IS NOT NULL"
)

Arrival = tuple[Shelf, Count, list[Delivery]]
"""The shelf, to what they count there, and messages."""


class Unreadable(NamedTuple):
    """A row that is not a message: the consumer that would have got it, and what is wrong."""

    id: int
    intake: Intake
    why: str


class View(NamedTuple):
    """The store between two transactions. All methods raise sqlite3.Error."""

    connection: sqlite3.Connection
    leases: Leases
    clock: StoreClock

    def lease_ready(self, arrivals: list[Arrival], unreadable: list[Unreadable]) -> None:
        """Lease ready messages for the shelves that have room, and append them to `arrivals`.

        Rows that are not messages are skipped and appended to `unreadable`.
        """
        now_ns = self.clock.now_ns()
        for queue in self.leases.wanting(now_ns):
            found: list[Delivery] = []
            arrivals.append((queue.shelf, queue.count, found))
            self._lease_of(queue, now_ns, found, unreadable)
            queue.shelf.has_more = queue.unread
            if not found:
                arrivals.pop()

    def _lease_of(self, queue: OpenQueue, now_ns: int, found: list[Delivery], unreadable: list[Unreadable]) -> None:
        room, size_bytes, ahead_s = queue.room, 0, self.clock.wall_s(0)
        queue.unread, queue.next_due_ns = True, None
        rows = self.connection.execute(_BEHIND, (queue.name, *queue.position))
        for row in rows:
            key, due_ns = row[:2]
            is_time = isinstance(due_ns, int | float)  # a text or a blob sorts behind every number
            if is_time and due_ns > now_ns:
                queue.unread, queue.next_due_ns = False, due_ns
                break
            if key not in queue.leases:
                if len(found) >= room or size_bytes >= AHEAD_BYTES:
                    break
                try:
                    delivery = self._lease(queue, row, ahead_s)
                except UnreadableRowError as error:
                    unreadable.append(Unreadable(key, queue.intakes[0], str(error)))
                else:
                    found.append(delivery)
                    size_bytes += delivery.lease.size_bytes
            if is_time:
                queue.position = (due_ns, key)
        else:
            queue.unread = False
        rows.close()

    def _lease(self, queue: OpenQueue, row: tuple[Any, ...], ahead_s: float) -> Delivery:
        """Raises UnreadableRowError."""
        key, due_ns, stored_ns, attempts, first_error, envelope, body = row
        if not (type(due_ns) is type(stored_ns) is type(attempts) is int and isinstance(first_error, str)):
            raise UnreadableRowError("its times, attempts or error have the wrong type")
        found = message(envelope, body)
        return Delivery(
            queue=queue.name,
            message=found,
            lease=queue.lease(key, due_ns, len(body) + len(envelope)),
            attempt=attempts + 1,
            redelivered=self.leases.maybe_run(key),
            stored_at_s=ahead_s + stored_ns / 1e9,
            first_error=first_error,
        )

    def statistics(self, queue: str) -> QueueStatistics:
        """Count by the index alone, without reading messages."""
        now_ns, leased = self.clock.now_ns(), self.leases.of(queue)
        total, due = self.connection.execute(_COUNTS, (now_ns, queue)).fetchone()
        oldest_ns = None
        if due > len(leased):
            rows = self.connection.execute(_DUE, (queue, now_ns))
            oldest_ns = next(due_ns for key, due_ns in rows if key not in leased)
            rows.close()
        return QueueStatistics(
            ready=due - len(leased),
            running=len(leased),
            delayed=total - due,
            oldest_age_s=None if oldest_ns is None else (now_ns - oldest_ns) / 1e9,
        )

    def browse(self, queue: str, limit: int, skip: int) -> list[Stored]:
        """Return ready messages that are not leased, with their ids as keys."""
        leased = f"[{','.join(map(str, self.leases.of(queue)))}]"
        rows = self.connection.execute(_BROWSE, (queue, self.clock.now_ns(), leased, limit, skip))
        return [self._stored(*row) for row in rows]

    def fetch(self, queue: str, key: int) -> Stored | None:
        """Return the message with this id, unless it is leased."""
        row = self.connection.execute(_FETCH, (key, queue, self.clock.now_ns())).fetchone()
        return None if row is None or key in self.leases.of(queue) else self._stored(*row)

    def _stored(self, key: int, stored_ns: Any, envelope: Any, size_bytes: int, body: bytes) -> Stored:
        return Stored(
            key=str(key),
            message=_shown(envelope, body),
            size_bytes=size_bytes,
            stored_at_s=self._stored_at_s(stored_ns),
        )

    def _stored_at_s(self, stored_ns: Any) -> float | None:
        return self.clock.wall_s(stored_ns) if isinstance(stored_ns, int) else None

    def queues(self) -> list[str]:
        """Return the names of all queues that have messages."""
        return [name for (name,) in self.connection.execute(_NAMES)]

    def recall(self, prefix: str) -> dict[str, str]:
        """Return the facts whose names begin with `prefix`, without the store's own."""
        return dict(self.connection.execute(_RECALL, (prefix, CLOCK)))


def _shown(envelope: Any, body: Any) -> Message:
    """Return the message, or one that says why the row is none."""
    try:
        return message(envelope, body)
    except UnreadableRowError as error:
        return Message(headers={REASON: "Undecodable", LAST_ERROR: f"the row is not a message: {error}"})
