"""Looking into queues: RabbitMQ shows a message only to who takes it, so it is taken, and given back in its place.

The channel it is taken through is closed without an acknowledgement. Meanwhile nobody else sees the message, and
afterwards it counts as redelivered.
"""

from collections import Counter
from collections.abc import AsyncIterator, Sequence

from aio_pika.exceptions import ChannelNotFoundEntity
from aiormq.abc import DeliveredMessage
from pamqp.commands import Basic

from bus.rabbitmq.letters import digest, message_of, timestamp_s, with_more_properties
from bus.rabbitmq.link import ANSWER_LIMIT_S, Channel, Link, store_errors
from bus.store import Stored


async def browse(link: Link, queue: str, limit: int) -> list[Stored]:
    """The oldest `limit` ready messages. Raises StoreError."""
    found: list[Stored] = []
    with store_errors(f"{link.place} does not show the queue {queue!r}"):
        async with link.channel() as channel:
            async for key, taken in _take(channel, queue, limit):
                properties = taken.header.properties
                message = with_more_properties(message_of(properties, taken.body), properties)
                found.append(Stored(key=key, message=message, stored_at_s=timestamp_s(properties)))
    return found


async def remove(link: Link, queue: str, keys: Sequence[str] | None) -> int:
    """Remove the messages with these keys, or all that are ready. Returns how many there were. Raises StoreError."""
    with store_errors(f"{link.place} does not remove messages from the queue {queue!r}"):
        async with link.channel() as channel:
            if keys is None:
                return await _purge(channel, queue)
            wanted, removed = set(keys), 0
            async for key, taken in _take(channel, queue, None):
                if key in wanted:
                    assert taken.delivery_tag is not None
                    await channel.basic_ack(taken.delivery_tag)
                    removed += 1
            return removed


async def _purge(channel: Channel, queue: str) -> int:
    try:
        return (await channel.queue_purge(queue, timeout=ANSWER_LIMIT_S)).message_count or 0
    except ChannelNotFoundEntity:
        return 0


async def _take(channel: Channel, queue: str, limit: int | None) -> AsyncIterator[tuple[str, DeliveredMessage]]:
    """Ready messages, oldest first, with their keys: messages that are alike in everything are told apart by number."""
    seen: Counter[str] = Counter()
    while limit is None or seen.total() < limit:
        try:
            taken = await channel.basic_get(queue, timeout=ANSWER_LIMIT_S)
        except ChannelNotFoundEntity:
            return
        if isinstance(taken.delivery, Basic.GetEmpty):
            return
        key = digest(taken.header.properties, taken.body)
        seen[key] += 1
        yield f"{key}-{seen[key]}", taken
