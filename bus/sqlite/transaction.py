"""Writing: operations share a transaction, and the leases in memory change with it.

Leases change only once the transaction is committed (`learn`); a rollback leaves them as they were.
"""

import sqlite3
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from bus import message as names
from bus.message import Delivery, Message, dead_message
from bus.retry import Ack, Dead, Release, Retry
from bus.sqlite.leases import Lease, Leases
from bus.sqlite.mending import REMEMBER
from bus.sqlite.reads import Unreadable
from bus.sqlite.rows import Row, delay_ns, envelope, storable
from bus.store import Settlement

_INSERT = (
    "INSERT INTO messages (id, queue, due_ns, stored_ns, attempts, first_error, envelope, body) "
    "VALUES (?, ?, ?, ?, 0, '', ?, ?)"
)
_DELETE = "DELETE FROM messages WHERE id = ?"
_RETRY = "UPDATE messages SET due_ns = ?, attempts = ?, first_error = ? WHERE id = ?"
_MOVE = (
    "UPDATE messages SET queue = ?, due_ns = ?, stored_ns = ?, attempts = 0, first_error = '', envelope = ? "
    "WHERE id = ?"
)
_TAKE_ONE = "DELETE FROM messages WHERE id = ? AND queue = ? AND due_ns <= ?"
_SOME = (
    "SELECT id, length(body) FROM messages WHERE queue = ? AND due_ns <= ? "
    "AND id NOT IN (SELECT value FROM json_each(?)) ORDER BY due_ns, id LIMIT ?"
)
_SOME_ROWS, _SOME_BYTES = 1000, 32 * 1024 * 1024
"""The most to remove in one transaction: a fraction of a second, even if all of it comes from the disk."""
_SEND_BACK = (
    "UPDATE messages SET queue = ?, due_ns = ?, stored_ns = ?, attempts = 0, first_error = '', envelope = ? "
    "WHERE id = ? AND queue = ? AND due_ns <= ?"
)
_HEAD = "SELECT envelope, attempts FROM messages WHERE id = ?"
_SET_ASIDE = (
    "UPDATE messages SET queue = ?, due_ns = ?, stored_ns = ?, attempts = 0, first_error = '', envelope = ?, "
    "body = CAST(body AS BLOB) WHERE id = ?"
)
_MOST_REMAINS_BYTES = 64 * 1024
"""How much of an unreadable head its dead letter keeps."""


class Transaction:
    """A transaction that has begun on the connection. `now_ns` is store time, `died_at_s` the same as wall time."""

    def __init__(
        self, connection: sqlite3.Connection, leases: Leases, ids: Iterator[int], *, now_ns: int, died_at_s: float
    ) -> None:
        self._connection = connection
        self._leases = leases
        self._ids = ids
        self._now_ns = now_ns
        self._died_at_s = died_at_s
        self._lessons: list[tuple[Callable[..., None], tuple[Any, ...]]] = []
        self._settled: set[Lease] = set()
        self._acknowledged: list[tuple[int]] = []

    def finish(self) -> None:
        """Before the commit: remove what was acknowledged, all of it at once."""
        if self._acknowledged:
            self._connection.executemany(_DELETE, self._acknowledged)

    def learn(self) -> None:
        """Update the leases after the commit."""
        for lesson, arguments in self._lessons:
            lesson(*arguments)

    def insert(self, rows: Sequence[Row]) -> None:
        """Store new messages."""
        values = [
            (next(self._ids), row.queue, self._now_ns + row.delay_ns, self._now_ns, row.envelope, row.body)
            for row in rows
        ]
        self._connection.executemany(_INSERT, values)
        self._lessons += [(self._leases.arrived, value[:3]) for value in values]

    def settle(self, settlements: Sequence[tuple[Settlement, Sequence[Row]]]) -> None:
        """Settle each with its outputs. If a lease is lost, skip both: the message will be delivered again."""
        outputs: list[Row] = []
        for settlement, rows in settlements:
            lease = settlement.delivery.lease
            if not self._leases.holds(lease) or lease in self._settled:
                continue
            self._settled.add(lease)
            outputs += rows
            match settlement.decision:
                case Ack():
                    self._acknowledged.append((lease.id,))
                    self._lessons.append((self._leases.settled, (lease,)))
                case Retry() as retry:
                    self._retry(lease, settlement.delivery, retry)
                case Dead() as dead:
                    self._bury(lease, settlement.delivery, dead)
                case Release():
                    self._lessons.append((self._leases.give_back, (lease,)))
        if outputs:
            self.insert(outputs)

    def take_out(self, queue: str, ids: Collection[int], into: Mapping[int, Row]) -> int:
        """Remove ready messages by id, or turn them into the row given in `into`, with their own bodies.

        Return how many there were.
        """
        leased, count = self._leases.of(queue), 0
        for key in ids:
            if key in leased:
                continue
            if (row := into.get(key)) is None:
                count += self._connection.execute(_TAKE_ONE, (key, queue, self._now_ns)).rowcount
                continue
            due_ns = self._now_ns + row.delay_ns
            values = (row.queue, due_ns, self._now_ns, row.envelope, key, queue, self._now_ns)
            if self._connection.execute(_SEND_BACK, values).rowcount:
                self._lessons.append((self._leases.arrived, (key, row.queue, due_ns)))
                count += 1
        return count

    def take_some_out(self, queue: str, until_ns: int) -> int:
        """Remove the oldest ready messages, as many as fit in one transaction, and return their number."""
        leased = f"[{','.join(map(str, self._leases.of(queue)))}]"
        found, sum_bytes = [], 0
        for key, size_bytes in self._connection.execute(_SOME, (queue, until_ns, leased, _SOME_ROWS)):
            found.append((key,))
            sum_bytes += size_bytes
            if sum_bytes >= _SOME_BYTES:
                break
        self._connection.executemany(_DELETE, found)
        return len(found)

    def remember(self, facts: dict[str, str]) -> None:
        """Store facts, replacing those with the same names."""
        self._connection.executemany(REMEMBER, list(facts.items()))

    def set_aside(self, rows: Sequence[Unreadable]) -> None:
        """Turn unreadable rows into dead letters, which keep their bodies and what is left of their heads."""
        for row in rows:
            self._set_aside(row)

    def _set_aside(self, row: Unreadable) -> None:
        source, error = row.intake.source, f"row {row.id} of the store is not a message: {row.why}"
        [head, attempts] = self._connection.execute(_HEAD, (row.id,)).fetchone()
        headers = {
            names.REASON: "Undecodable",
            names.ATTEMPT: attempts if isinstance(attempts, int) else 0,
            names.FIRST_ERROR: error,
            names.LAST_ERROR: error,
            names.QUEUE: source.queue,
            names.FUNCTION: source.function,
            names.DIED_AT: self._died_at_s,
            names.REMAINS: head[:_MOST_REMAINS_BYTES] if isinstance(head, bytes | str) else head,
        }
        values = (source.dead_letter, self._now_ns, self._now_ns, envelope(Message(headers=headers)), row.id)
        self._connection.execute(_SET_ASIDE, values)
        self._lessons.append((self._leases.arrived, (row.id, source.dead_letter, self._now_ns)))

    def _retry(self, lease: Lease, delivery: Delivery, retry: Retry) -> None:
        due_ns = self._now_ns + delay_ns(retry.delay_s)
        first_error = delivery.first_error or (storable(retry.error) if retry.counts else "")
        tried = delivery.attempt if retry.counts else delivery.attempt - 1
        self._connection.execute(_RETRY, (due_ns, tried, first_error, lease.id))
        self._moves(lease, delivery.queue, due_ns)

    def _bury(self, lease: Lease, delivery: Delivery, dead: Dead) -> None:
        assert lease.intake is not None
        source = lease.intake.source
        letter = dead_message(delivery, source.function, dead.reason, storable(dead.error), self._died_at_s)
        values = (source.dead_letter, self._now_ns, self._now_ns, envelope(letter), lease.id)
        self._connection.execute(_MOVE, values)
        self._moves(lease, source.dead_letter, self._now_ns)

    def _moves(self, lease: Lease, queue: str, due_ns: int) -> None:
        self._lessons += [(self._leases.settled, (lease,)), (self._leases.arrived, (lease.id, queue, due_ns))]
