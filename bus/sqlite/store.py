"""The face of the embedded store in the event loop: what `bus.store` promises, handed on to the writer thread.

What it promises beyond the contract: `publish`, `settle` with its outputs, and `take_out` with `into` are one
transaction each; the order in a queue is by due time, then by arrival; attempts are exact through crashes. A message
that a consumer of this process left unsettled comes back as `redelivered`; after a crash nobody can tell which were in
hand (leases are not written down), and they come back without it.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
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
    """The store in the file at `path`, made if it is not there, for this process alone while the block runs.

    Raises StoreError: in use by another process, of a newer schema, no store of ours, or not to be opened at all.
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
        """Where its file lies."""
        return self._writer.path

    @property
    def is_connected(self) -> bool:
        """False while the last write failed; another is tried every second."""
        return self._writer.is_writable

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        if messages:
            rows = [row(each) for each in messages]
            await self._writer.write(lambda transaction: transaction.insert(rows))

    @asynccontextmanager
    async def consume(self, source: Source, prefetch: int) -> AsyncIterator["SqliteConsumer"]:
        """A queue needs no making: one without messages is empty. Raises ValueError for a prefetch below 1."""
        if prefetch < 1:
            raise ValueError(f"prefetch has to be 1 or more, not {prefetch}")
        consumer = SqliteConsumer(self._writer, source, prefetch)
        try:
            yield consumer
        finally:
            consumer.close()

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        """A settlement whose lease is lost has no effect, and its outputs are not stored either."""
        if settlements:
            prepared = [(each, [row(output) for output in each.outputs]) for each in settlements]
            await self._writer.write(lambda transaction: transaction.settle(prepared))

    async def statistics(self, queue: str) -> QueueStatistics:
        found: QueueStatistics = await self._writer.read(lambda view: view.statistics(queue))
        return found

    async def queues(self) -> list[str]:
        """The names of all that have messages, in order. Raises StoreError."""
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
        """Leaves what is delayed, or leased to a consumer. All of a queue go in several transactions."""
        if keys is None:
            return await self._take_all_out(queue)
        rows = {int(key): row(outgoing) for key, outgoing in into.items() if key.isdecimal()}
        ids = [int(key) for key in keys if key.isdecimal()]
        count: int = await self._writer.write(lambda transaction: transaction.take_out(queue, ids, rows))
        return count

    async def _take_all_out(self, queue: str) -> int:
        """What lies there now, a part at a time: to remove bodies takes time, and others want to write too."""
        until_ns: int = await self._writer.read(lambda view: view.clock.now_ns())
        total = 0
        while count := await self._writer.write(lambda transaction: transaction.take_some_out(queue, until_ns)):
            total += count
        return total

    async def remember(self, facts: dict[str, str]) -> None:
        """The names and values are any text."""
        if facts:
            await self._writer.write(lambda transaction: transaction.remember(facts))

    async def recall(self, prefix: str) -> dict[str, str]:
        """Raises StoreError."""
        found: dict[str, str] = await self._writer.read(lambda view: view.recall(prefix))
        return found

    async def copy(self, path: Path) -> None:
        """Make a consistent copy of the whole store at `path`, where nothing may be; everything goes on meanwhile.

        Raises StoreError.
        """
        await self._writer.copy(path)


class SqliteConsumer:
    """The event loop's half of a consumer; `Intake` is the thread's."""

    def __init__(self, writer: Writer, source: Source, prefetch: int) -> None:
        self._writer = writer
        self._prefetch = prefetch
        self._here: deque[Delivery] = deque()
        self._epoch = 0
        self._is_paused = False
        self._is_closed = False
        self._something = asyncio.Event()
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
        """What is not settled goes back."""
        self._is_closed = True
        self._here.clear()
        self._something.set()
        self._writer.change(lambda leases: leases.close(self._intake))

    def _arrive(self, epoch: int, delivery: Delivery) -> None:
        """What was leased before a pause, and came after, has gone back already."""
        if epoch == self._epoch and not self._is_closed:
            self._here.append(delivery)
            self._something.set()
