"""A store that is away for a moment: what is asked of it reaches the real one, but for the first settlements."""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager

from bus.message import Outgoing
from bus.store import NOTHING, Consumer, QueueStatistics, Settlement, Source, Store, Stored, StoreError


class Refusing:
    """Refuses to settle so many `times`; the messages stay leased, as the contract has it."""

    def __init__(self, store: Store, times: int) -> None:
        self._store = store
        self._times = times
        self.refused = 0

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        if self.refused < self._times:
            self.refused += 1
            raise StoreError("the store is away")
        await self._store.settle(settlements)

    def settle_soon(self, settlement: Settlement, done: Callable[[StoreError | None], None]) -> bool:
        if self.refused < self._times:
            self.refused += 1
            done(StoreError("the store is away"))
            return True
        return self._store.settle_soon(settlement, done)

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        await self._store.publish(messages)

    def consume(self, source: Source, prefetch: int) -> AbstractAsyncContextManager[Consumer]:
        return self._store.consume(source, prefetch)

    async def statistics(self, queue: str) -> QueueStatistics:
        return await self._store.statistics(queue)

    async def browse(self, queue: str, limit: int, skip: int = 0) -> list[Stored]:
        return await self._store.browse(queue, limit, skip)

    async def fetch(self, queue: str, key: str) -> Stored | None:
        return await self._store.fetch(queue, key)

    async def take_out(self, queue: str, keys: Collection[str] | None, into: Mapping[str, Outgoing] = NOTHING) -> int:
        return await self._store.take_out(queue, keys, into)

    @property
    def is_connected(self) -> bool:
        return self._store.is_connected
