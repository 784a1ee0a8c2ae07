"""Steady traffic through a store while something goes wrong, and the account of it afterwards."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from uuid import uuid4

from bus.message import Message, Outgoing
from bus.retry import Ack, Retry
from bus.store import Consumer, Settlement, Source, Store, StoreError
from tests.kit.stores import BALANCED, Ledger
from tests.kit.support import until

PREFETCH, CONSUMERS = 10, 2
SETTLED_LIMIT_S = 30.0


class Traffic:
    """One publisher, which counts what the store accepts; consumers, which count what they are done with.

    Every third message fails its first attempt, so that retries are under way as well when it happens.
    """

    def __init__(self, store: Store, source: Source) -> None:
        self.ledger = Ledger()
        self.consumers: list[Consumer] = []
        self._store = store
        self._source = source
        self._published = 0

    async def publish(self) -> None:
        """Ten messages at a time, for ever."""
        while True:
            messages = [Message(id=uuid4().hex, body=b"x" * 100) for _ in range(10)]
            names = {message.id or "" for message in messages}
            self.ledger.uncertain |= names
            with contextlib.suppress(StoreError):
                await self._store.publish([Outgoing(queue=self._source.queue, message=each) for each in messages])
                self.ledger.accepted |= names
            self._published += 1
            await asyncio.sleep(0.01)  # the pace of the traffic

    async def consume(self) -> None:
        """A consumer with as many workers as it may have messages."""
        async with self._store.consume(self._source, PREFETCH) as consumer, asyncio.TaskGroup() as workers:
            self.consumers.append(consumer)
            for _ in range(PREFETCH):
                workers.create_task(self._work(consumer))

    async def _work(self, consumer: Consumer) -> None:
        while True:
            delivery = await consumer.next()
            fails = delivery.attempt == 1 and int(delivery.message.id or "", 16) % 3 == 0
            await asyncio.sleep(0.002)  # the work itself
            await self._settle(Settlement(delivery, Retry(0.05, "first") if fails else Ack()))
            if not fails:
                self.ledger.seen[delivery.message.id or ""] += 1

    async def _settle(self, settlement: Settlement) -> None:
        """Until the store accepts it: before that the message is leased here, and comes to nobody else."""
        while True:
            try:
                return await self._store.settle([settlement])
            except StoreError:
                await asyncio.sleep(0.05)  # as the trigger does, which waits longer

    async def wait_flowing(self) -> None:
        """Until something that is published from now on has gone all the way, twice a round of the publisher later."""
        rounds, seen = self._published, self.ledger.seen.total()
        await until(lambda: self._published > rounds + 2, SETTLED_LIMIT_S)
        await until(lambda: self.ledger.seen.total() > seen + 20, SETTLED_LIMIT_S)

    async def wait_consuming(self) -> None:
        """Until every consumer consumes."""
        await until(lambda: all(consumer.is_consuming for consumer in self.consumers), SETTLED_LIMIT_S)

    async def wait_settled(self) -> None:
        """Until all that was accepted has come through."""
        with contextlib.suppress(AssertionError):  # what is missing then, the account says
            await until(lambda: self.ledger.accepted <= self.ledger.seen.keys(), SETTLED_LIMIT_S)


@contextlib.asynccontextmanager
async def traffic(store: Store, source: Source, faults: int = 1) -> AsyncIterator[Traffic]:
    """Traffic during the block, in which `faults` things go wrong. Then nothing may be lost, and little come twice."""
    running = Traffic(store, source)
    consuming = [asyncio.create_task(running.consume()) for _ in range(CONSUMERS)]
    publishing = asyncio.create_task(running.publish())
    try:
        await running.wait_flowing()
        yield running
        await running.wait_flowing()
        publishing.cancel()
        await running.wait_settled()
        account = running.ledger.account()
        assert account == BALANCED, account
        assert running.ledger.duplicates <= faults * CONSUMERS * PREFETCH
    finally:
        for task in (publishing, *consuming):
            task.cancel()
        await asyncio.gather(publishing, *consuming, return_exceptions=True)
