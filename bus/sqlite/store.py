"""The embedded store in the event loop: it implements `bus.store` by handing operations to the writer thread.

Beyond that protocol, `publish`, `settle` with its outputs, and `take_out` with `into` are one transaction each; a queue
is ordered by due time, then by arrival; attempts are exact, even after a crash. A message that a consumer of this
process left unsettled comes back as `redelivered`. Leases are only in memory, so after a crash messages come back
without that mark.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from anyio import CancelScope

from bus.message import Delivery, Outgoing
from bus.sqlite.clock import Clocks
from bus.sqlite.leases import Intake
from bus.sqlite.rows import row
from bus.sqlite.writer import Writer
from bus.store import NOTHING, QueueStatistics, Settlement, Source, Stored, StoreError


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
        consumer = SqliteConsumer(self._writer, source, prefetch)
        try:
            yield consumer
        finally:
            consumer.close()

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        """A settlement whose lease is lost has no effect: its outputs are not stored either."""
        if settlements:
            prepared = [(each, [row(output) for output in each.outputs]) for each in settlements]
            await self._writer.write(lambda transaction: transaction.settle(prepared))

    def settle_soon(self, settlement: Settlement, done: Callable[[StoreError | None], None]) -> bool:
        """Always takes it."""
        prepared = [(settlement, [row(output) for output in settlement.outputs])]
        try:
            self._writer.write_soon(lambda transaction: transaction.settle(prepared), lambda _, error: done(error))
        except StoreError:  # closed
            return False
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
        count: int = await self._writer.write(lambda transaction: transaction.take_out(queue, ids, rows))
        return count

    async def _take_all_out(self, queue: str) -> int:
        """Remove what is there now, in parts: it takes time, and other writes must not wait for all of it."""
        until_ns: int = await self._writer.read(lambda view: view.clock.now_ns())
        total = 0
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

    def __init__(self, writer: Writer, source: Source, prefetch: int) -> None:
        self._writer = writer
        self._prefetch = prefetch
        self._here: deque[Delivery] = deque()
        self._epoch = 0
        self._is_paused = False
        self._is_closed = False
        self._something = asyncio.Event()
        self._on_message: Callable[[], None] | None = None
        self._intake = intake = Intake(source, prefetch, self._arrive)
        writer.change(lambda leases: leases.open(intake))

    def __repr__(self) -> str:
        state = "closed" if self._is_closed else "paused" if self._is_paused else "consuming"
        intake = self._intake
        queue, here = intake.source.queue, len(self._here)
        return f"<SqliteConsumer of {queue}: {state}, {intake.leased} of {self._prefetch} leased, {here} to hand out>"

    @property
    def is_consuming(self) -> bool:
        return not (self._is_paused or self._is_closed) and self._writer.is_writable

    async def next(self) -> Delivery:
        """Raises StoreError once the consumer is closed."""
        while (delivery := self.next_nowait()) is None:
            if self._is_closed:
                raise StoreError("the consumer is closed")
            self._something.clear()
            await self._something.wait()
        return delivery

    def next_nowait(self) -> Delivery | None:
        if not self._here:
            return None
        delivery = self._here.popleft()
        delivery.lease.handed = True
        return delivery

    def on_message(self, callback: Callable[[], None]) -> None:
        self._on_message = callback

    async def pause(self) -> None:
        if not self._is_paused:
            self._is_paused = True
            self._epoch += 1
            self._here.clear()
            self._writer.change(lambda leases: leases.pause(self._intake))

    async def resume(self) -> None:
        if self._is_paused:
            self._is_paused = False
            self._writer.change(lambda leases: leases.resume(self._intake, self._prefetch))

    def close(self) -> None:
        """Return unsettled messages to the queue."""
        self._is_closed = True
        self._here.clear()
        self._something.set()
        self._writer.change(lambda leases: leases.close(self._intake))

    def _arrive(self, epoch: int, delivery: Delivery) -> None:
        """A delivery leased before a pause that arrives after it has already been returned."""
        if epoch == self._epoch and not self._is_closed:
            self._here.append(delivery)
            self._something.set()
            if self._on_message is not None:
                self._on_message()
