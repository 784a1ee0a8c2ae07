"""The embedded store in the event loop: it implements `bus.store` by handing operations to the writer thread.

Beyond that protocol, `publish`, `settle` with its outputs, and `take_out` with `into` are one transaction each; a queue
is ordered by due time, then by arrival; attempts are exact, even after a crash. A message that a consumer of this
process left unsettled comes back as `redelivered`. Leases are only in memory, so after a crash messages come back
without that mark.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from anyio import CancelScope

from bus.message import Delivery, Outgoing
from bus.sqlite.clock import Clocks
from bus.sqlite.leases import Intake, Lease
from bus.sqlite.rows import row
from bus.sqlite.shelf import Count, Shelf
from bus.sqlite.writer import Writer
from bus.store import NOTHING, TAKEN_BYTES, QueueStatistics, Settlement, Source, Stored, StoreError

ALL_TAKEN_BYTES = 4 * TAKEN_BYTES
"""The memory for the messages of all consumers; above it, each takes one at a time."""


@asynccontextmanager
async def open_sqlite(path: Path, clocks: Clocks | None = None) -> AsyncIterator["SqliteStore"]:
    """Open the store at `path` for this process alone, for the time of the block; create it if it does not exist.

    Raises StoreError if it is in use, damaged, not a store, of a newer schema, or cannot be opened.
    """
    writer = Writer(path, clocks or Clocks())
    with CancelScope(shield=True):
        await writer.start()
    try:
        yield SqliteStore(writer)
    finally:
        with CancelScope(shield=True):
            await writer.stop()


class SqliteStore:
    """A `Store` and its `Facts`."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._shelves: dict[str, Shelf] = {}
        """Of the queues with consumers."""
        self.taken_bytes = 0
        """The bytes that all consumers have taken."""

    @property
    def path(self) -> Path:
        """The store's file."""
        return self._writer.path

    @property
    def is_connected(self) -> bool:
        """False after a write failed; another one is tried every second."""
        return self._writer.is_writable

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        if messages:
            rows = [row(each) for each in messages]
            await self._writer.write(lambda transaction: transaction.insert(rows))

    @asynccontextmanager
    async def consume(self, source: Source, prefetch: int) -> AsyncIterator["SqliteConsumer"]:
        """Every queue exists, if only without messages. Raises ValueError if `prefetch` is below 1."""
        if prefetch < 1:
            raise ValueError(f"prefetch must be at least 1, not {prefetch}")
        shelf = self._shelf(source.queue)
        consumer = SqliteConsumer(self, self._writer, shelf, source, prefetch)
        try:
            yield consumer
        finally:
            were_full = self.taken_bytes >= ALL_TAKEN_BYTES
            consumer.close()
            self._drop_unused(shelf)
            if were_full:
                self.offer()
            else:
                shelf.offer()

    def _shelf(self, queue: str) -> Shelf:
        if queue not in self._shelves:
            self._shelves[queue] = Shelf(queue, self._read_on, self._recall)
        return self._shelves[queue]

    def _drop_unused(self, shelf: Shelf) -> None:
        if not (shelf.takers or shelf.closings) and self._shelves.get(shelf.queue) is shelf:
            del self._shelves[shelf.queue]

    def _read_on(self) -> None:
        self._writer.change(lambda _: None)

    def _recall(self, shelf: Shelf, count: Count) -> None:
        self._writer.change(lambda leases: leases.recall(shelf, count))

    def offer(self) -> None:
        """Offer messages to consumers that may have been without room in bytes."""
        for shelf in tuple(self._shelves.values()):
            shelf.offer()

    @contextmanager
    def _closed(self, queue: str) -> Iterator[None]:
        """Keep messages off the shelf inside the block, so that they can be removed from the queue."""
        shelf = self._shelf(queue)
        shelf.closings += 1
        shelf.recall()
        try:
            yield
        finally:
            shelf.closings -= 1
            self._drop_unused(shelf)
            self._read_on()

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        """A settlement whose lease is lost has no effect: its outputs are not stored either."""
        if settlements:
            prepared = [(each, [row(output) for output in each.outputs]) for each in settlements]

            def let_go() -> None:
                for each in settlements:
                    _let_go(each.delivery.lease)

            await self._writer.write(lambda transaction: transaction.settle(prepared), let_go)

    def settle_soon(self, settlement: Settlement, done: Callable[[StoreError | None], None]) -> bool:
        """Takes everything. The consumer has room for another message at once, unless the settlement fails."""
        prepared = [(settlement, [row(output) for output in settlement.outputs])]
        lease: Lease = settlement.delivery.lease
        holder: SqliteConsumer | None = lease.holder

        def answer(_: None, error: StoreError | None) -> None:
            if error is not None and holder is not None:
                holder.hold(lease)
            done(error)

        try:
            self._writer.write_soon(lambda transaction: transaction.settle(prepared), answer)
        except StoreError:  # closed
            return False
        _let_go(lease)
        return True

    async def statistics(self, queue: str) -> QueueStatistics:
        found: QueueStatistics = await self._writer.read(lambda view: view.statistics(queue))
        return found

    async def queues(self) -> list[str]:
        """Return the names of all queues that have messages, sorted. Raises StoreError."""
        found: list[str] = await self._writer.read(lambda view: view.queues())
        return found

    async def browse(self, queue: str, limit: int, skip: int = 0) -> list[Stored]:
        found: list[Stored] = await self._writer.read(lambda view: view.browse(queue, limit, skip))
        return found

    async def fetch(self, queue: str, key: str) -> Stored | None:
        if not key.isdecimal():
            return None
        found: Stored | None = await self._writer.read(lambda view: view.fetch(queue, int(key)))
        return found

    async def take_out(self, queue: str, keys: Collection[str] | None, into: Mapping[str, Outgoing] = NOTHING) -> int:
        """Delayed and leased messages stay. Removing all of a queue takes several transactions."""
        if keys is None:
            return await self._take_all_out(queue)
        rows = {int(key): row(outgoing) for key, outgoing in into.items() if key.isdecimal()}
        ids = [int(key) for key in keys if key.isdecimal()]
        with self._closed(queue):
            count: int = await self._writer.write(lambda transaction: transaction.take_out(queue, ids, rows))
        return count

    async def _take_all_out(self, queue: str) -> int:
        """Remove what is there now, in parts: it takes time, and other writes must not wait for all of it."""
        until_ns: int = await self._writer.read(lambda view: view.clock.now_ns())
        total = 0
        with self._closed(queue):
            while count := await self._writer.write(lambda transaction: transaction.take_some_out(queue, until_ns)):
                total += count
        return total

    async def remember(self, facts: dict[str, str]) -> None:
        """Names and values may be any text."""
        if facts:
            await self._writer.write(lambda transaction: transaction.remember(facts))

    async def recall(self, prefix: str) -> dict[str, str]:
        """Raises StoreError."""
        found: dict[str, str] = await self._writer.read(lambda view: view.recall(prefix))
        return found

    async def copy(self, path: Path) -> None:
        """Make a consistent copy of the store at `path`, which must not exist. Other operations continue meanwhile.

        Raises StoreError.
        """
        await self._writer.copy(path)


class SqliteConsumer:
    """The half of a consumer in the event loop; `Intake` is the half in the thread."""

    def __init__(self, store: SqliteStore, writer: Writer, shelf: Shelf, source: Source, prefetch: int) -> None:
        self._store = store
        self._writer = writer
        self._shelf = shelf
        self._prefetch = prefetch
        self._unsettled = self._taken_bytes = 0
        self._is_paused = False
        self._is_closed = False
        self._something = asyncio.Event()
        self._on_message: Callable[[], None] | None = None
        self._intake = intake = Intake(source)
        shelf.takers = (*shelf.takers, self)
        writer.change(lambda leases: leases.open(intake, shelf))

    def __repr__(self) -> str:
        state = "closed" if self._is_closed else "paused" if self._is_paused else "consuming"
        has = f"{self._unsettled} of {self._prefetch} messages, {len(self._shelf)} wait on the shelf"
        return f"<SqliteConsumer of {self._shelf.queue}: {state}, {has}>"

    @property
    def is_consuming(self) -> bool:
        return self.is_taking and self._writer.is_writable

    @property
    def is_taking(self) -> bool:
        return not (self._is_paused or self._is_closed)

    @property
    def room(self) -> int:
        return self._prefetch - self._unsettled

    async def next(self) -> Delivery:
        """Raises StoreError once the consumer is closed."""
        while (delivery := self.next_nowait()) is None:
            if self._is_closed:
                raise StoreError("the consumer is closed")
            self._something.clear()
            await self._something.wait()
        return delivery

    def next_nowait(self) -> Delivery | None:
        if self._is_paused or self._is_closed or self._unsettled >= self._prefetch or self._is_full():
            return None
        delivery = self._shelf.take()
        if delivery is not None:
            lease: Lease = delivery.lease
            lease.intake = self._intake
            lease.handed = True
            self.hold(lease)
        return delivery

    def _is_full(self) -> bool:
        """Whether it has taken all the bytes it may."""
        return self._unsettled > 0 and (self._taken_bytes >= TAKEN_BYTES or self._store.taken_bytes >= ALL_TAKEN_BYTES)

    def hold(self, lease: Lease) -> None:
        """Count a message as unsettled."""
        if not self._is_closed:
            lease.holder = self
            self._unsettled += 1
            self._taken_bytes += lease.size_bytes
            self._store.taken_bytes += lease.size_bytes

    def let_go(self, lease: Lease) -> None:
        """Count it as settled."""
        if self._is_closed:
            return
        others_wait = self._store.taken_bytes >= ALL_TAKEN_BYTES
        self._unsettled -= 1
        self._taken_bytes -= lease.size_bytes
        self._store.taken_bytes -= lease.size_bytes
        self._something.set()
        if others_wait:
            self._store.offer()

    def on_message(self, callback: Callable[[], None]) -> None:
        self._on_message = callback

    def notify(self) -> None:
        self._something.set()
        if self._on_message is not None:
            self._on_message()

    async def pause(self) -> None:
        if not self._is_paused:
            self._is_paused = True
            self._recall_unless_others_take()

    async def resume(self) -> None:
        if self._is_paused:
            self._is_paused = False
            self._writer.change(lambda _: None)
            self._shelf.offer()

    def close(self) -> None:
        """Return unsettled messages to the queue."""
        self._is_closed = True
        self._store.taken_bytes -= self._taken_bytes
        self._shelf.takers = tuple(each for each in self._shelf.takers if each is not self)
        self._something.set()
        self._recall_unless_others_take()
        self._writer.change(lambda leases: leases.close(self._intake))

    def _recall_unless_others_take(self) -> None:
        if not any(each.is_taking for each in self._shelf.takers):
            self._shelf.recall()


def _let_go(lease: Lease) -> None:
    holder, lease.holder = lease.holder, None
    if holder is not None:
        holder.let_go(lease)
