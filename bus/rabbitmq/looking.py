"""Looking into queues: RabbitMQ shows a message only to who takes it, so it is taken, and given back in its place.

Meanwhile nobody else sees the message, and afterwards it counts as redelivered.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from aio_pika.exceptions import ChannelNotFoundEntity
from aiormq.abc import DeliveredMessage
from pamqp.commands import Basic

from bus.rabbitmq.letters import digest, message_of, timestamp_s, with_more_properties
from bus.rabbitmq.link import ANSWER_LIMIT_S, Channel, Link, store_errors
from bus.store import Stored

_AT_LEAST = 200
"""A quorum queue puts what it gets back behind what it got back before, and all of it before the rest. Who takes fewer
than were looked at last time changes their order; so a few are always taken."""


async def browse(link: Link, queue: str, limit: int) -> list[Stored]:
    """The oldest `limit` ready messages. Raises StoreError."""
    with store_errors(f"{link.place} does not show the queue {queue!r}"):
        async with link.channel() as channel:
            taken = await _take(channel, queue, max(limit, _AT_LEAST))
            await _give_back(channel, taken.values())
    return [_stored(key, found) for key, found in tuple(taken.items())[:limit]]


async def remove(link: Link, queue: str, keys: Sequence[str] | None) -> int:
    """Remove the messages with these keys, or all that are ready. Returns how many there were. Raises StoreError."""
    with store_errors(f"{link.place} does not remove messages from the queue {queue!r}"):
        async with link.channel() as channel:
            if keys is None:
                return await _purge(channel, queue)
            taken = await _take(channel, queue, None)
            removed = [found for key in dict.fromkeys(keys) if (found := taken.pop(key, None))]
            for found in removed:
                await channel.basic_ack(_tag(found))
            await _give_back(channel, taken.values())
            return len(removed)


def _stored(key: str, taken: DeliveredMessage) -> Stored:
    properties = taken.header.properties
    message = with_more_properties(message_of(properties, taken.body), properties)
    return Stored(key=key, message=message, stored_at_s=timestamp_s(properties))


async def _purge(channel: Channel, queue: str) -> int:
    try:
        return (await channel.queue_purge(queue, timeout=ANSWER_LIMIT_S)).message_count or 0
    except ChannelNotFoundEntity:
        return 0


async def _take(channel: Channel, queue: str, limit: int | None) -> dict[str, DeliveredMessage]:
    """Ready messages by key, oldest first; those that are alike in everything are told apart by a number."""
    seen: Counter[str] = Counter()
    taken: dict[str, DeliveredMessage] = {}
    while limit is None or len(taken) < limit:
        try:
            found = await channel.basic_get(queue, timeout=ANSWER_LIMIT_S)
        except ChannelNotFoundEntity:
            break
        if isinstance(found.delivery, Basic.GetEmpty):
            break
        alike = digest(found.header.properties, found.body)
        seen[alike] += 1
        taken[f"{alike}-{seen[alike]}"] = found
    return taken


async def _give_back(channel: Channel, taken: Iterable[DeliveredMessage]) -> None:
    """One by one: a quorum queue takes back what a closed channel held in no certain order."""
    for each in taken:
        await channel.basic_nack(_tag(each), requeue=True)


def _tag(taken: DeliveredMessage) -> int:
    assert taken.delivery_tag is not None
    return taken.delivery_tag
