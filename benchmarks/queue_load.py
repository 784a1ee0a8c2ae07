"""Messages for a queue of a broker: as many as told at once, or some a second; and how many it still holds."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import aio_pika
from aio_pika.abc import AbstractChannel

from benchmarks.queue_peers import PADDING, QUEUE, Consumer, Wire
from tests.kit.served import eventually

IN_FLIGHT = 200


class Load:
    """A connection of the load's own."""

    def __init__(self, channel: AbstractChannel) -> None:
        self._channel = channel

    async def wait_consumed(self) -> None:
        """Until somebody consumes the queue."""
        await eventually(self._is_consumed)

    async def _is_consumed(self) -> bool:
        try:
            queue = await self._channel.declare_queue(QUEUE, passive=True)
        except aio_pika.exceptions.ChannelNotFoundEntity:
            await self._channel.reopen()
            return False
        return bool(queue.declaration_result.consumer_count)

    async def is_empty(self) -> bool:
        """Whether it has nothing to deliver."""
        return await self.depth() == 0

    async def declare(self) -> None:
        """A durable classic queue, as Celery and Dramatiq make it."""
        await self._channel.declare_queue(QUEUE, durable=True)

    async def depth(self) -> int:
        """How many messages it has to deliver."""
        queue = await self._channel.declare_queue(QUEUE, passive=True)
        return queue.declaration_result.message_count or 0

    async def fill(self, consumer: Consumer, count: int) -> None:
        """Publish `count` persistent messages, confirmed, many in flight."""
        for begin in range(0, count, IN_FLIGHT):
            numbers = range(begin, min(count, begin + IN_FLIGHT))
            wires = [consumer.message({"n": number, "padding": PADDING}) for number in numbers]
            await asyncio.gather(*map(self._publish, wires))

    async def pace(self, consumer: Consumer, per_s: int, seconds: float) -> int:
        """Publish one after the other at this rate, each with its time; how many."""
        begin_ns = time.monotonic_ns()
        count = int(per_s * seconds)
        for number in range(count):
            due_ns = begin_ns + number * 1_000_000_000 // per_s
            await asyncio.sleep(max(0.0, (due_ns - time.monotonic_ns()) / 1e9))
            await self._publish(consumer.message({"at_ns": time.monotonic_ns(), "padding": PADDING}))
        return count

    async def _publish(self, wire: Wire) -> None:
        message = aio_pika.Message(
            wire.body,
            headers=wire.headers,
            content_type="application/json",
            content_encoding="utf-8",
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        )
        await self._channel.default_exchange.publish(message, routing_key=QUEUE)


@contextlib.asynccontextmanager
async def load(url: str) -> AsyncIterator[Load]:
    """Connected inside the block."""
    async with await aio_pika.connect(url) as connection, await connection.channel() as channel:
        yield Load(channel)
