"""Looking into queues: RabbitMQ shows a message only to who takes it, so it is taken, and given back in its place.

Meanwhile nobody else sees the message, and afterwards it counts as redelivered.
"""

from collections import Counter
from collections.abc import Sequence, Set
from itertools import groupby

import anyio
from aio_pika.exceptions import ChannelNotFoundEntity
from aiormq.abc import DeliveredMessage
from pamqp.commands import Basic

from bus.rabbitmq.letters import digest, message_of, timestamp_s, with_more_properties
from bus.rabbitmq.link import ANSWER_LIMIT_S, Channel, Link, store_errors
from bus.store import Stored

_AT_LEAST = 200
"""A quorum queue puts what it gets back behind what it got back before, and all of it before the rest. Who takes fewer
than were looked at last time changes their order; so a few are always taken."""
_RUNS = 30
"""So many acknowledgements of a channel at a time: of more, RabbitMQ holds some back, and forgets them when the channel
closes (rabbit_fifo_client sends 32 commands ahead)."""
_VISIBLE_LIMIT_S = 2.0
"""How long what was given back may take to be in its queue again."""


async def browse(link: Link, queue: str, limit: int) -> list[Stored]:
    """The oldest `limit` ready messages. Raises StoreError."""
    with store_errors(f"{link.place} does not show the queue {queue!r}"):
        async with link.channel() as channel:
            taken = await _take(channel, queue, max(limit, _AT_LEAST))
            await _hand_back(channel, queue, taken, frozenset())
    return [_stored(key, found) for key, found in tuple(taken.items())[:limit]]


async def remove(link: Link, queue: str, keys: Sequence[str] | None) -> int:
    """Remove the messages with these keys, or all that are ready. Returns how many there were. Raises StoreError."""
    with store_errors(f"{link.place} does not remove messages from the queue {queue!r}"):
        if keys is None:
            async with link.channel() as channel:
                return await _purge(channel, queue)
        wanted, removed = set(keys), 0
        while wanted:
            async with link.channel() as channel:
                taken = await _take(channel, queue, None, wanted)
                found = wanted & taken.keys()
                gone = await _hand_back(channel, queue, taken, found)
            removed += len(gone)
            wanted -= gone
            if len(gone) == len(found):  # what was not found this time is not there
                break
        return removed


async def _hand_back(channel: Channel, queue: str, taken: dict[str, DeliveredMessage], remove: Set[str]) -> set[str]:
    """Settle all that was taken, removing those of `remove`, as many as a channel can at a time; which those are."""
    runs = [(is_removed, list(keys)) for is_removed, keys in groupby(taken, remove.__contains__)]
    now, later = runs[:_RUNS], [key for _, keys in runs[_RUNS:] for key in keys]
    if later:
        now.append((False, later))
    for is_removed, keys in now:
        last = _tag(taken[keys[-1]])
        if is_removed:
            await channel.basic_ack(last, multiple=True)
        else:
            await channel.basic_nack(last, multiple=True, requeue=True)
    gone = {key for is_removed, keys in now if is_removed for key in keys}
    await _wait_visible(channel, queue, len(taken) - len(gone))
    return gone


async def _wait_visible(channel: Channel, queue: str, count: int) -> None:
    """Until the queue has that many again, or others have taken them."""
    if not count:
        return
    with anyio.move_on_after(_VISIBLE_LIMIT_S):
        while True:
            found = await channel.queue_declare(queue, passive=True, timeout=ANSWER_LIMIT_S)
            if (found.message_count or 0) >= count:
                return


def _stored(key: str, taken: DeliveredMessage) -> Stored:
    properties = taken.header.properties
    message = with_more_properties(message_of(properties, taken.body), properties)
    return Stored(key=key, message=message, stored_at_s=timestamp_s(properties))


async def _purge(channel: Channel, queue: str) -> int:
    try:
        return (await channel.queue_purge(queue, timeout=ANSWER_LIMIT_S)).message_count or 0
    except ChannelNotFoundEntity:
        return 0


async def _take(
    channel: Channel, queue: str, limit: int | None, wanted: Set[str] = frozenset()
) -> dict[str, DeliveredMessage]:
    """Ready messages by key, oldest first; those that are alike in everything are told apart by a number.

    `limit` None: until all that are `wanted` are there, or the queue ends.
    """
    seen: Counter[str] = Counter()
    taken: dict[str, DeliveredMessage] = {}
    missing = set(wanted)
    while len(taken) < (_AT_LEAST if limit is None else limit) or (limit is None and missing):
        try:
            found = await channel.basic_get(queue, timeout=ANSWER_LIMIT_S)
        except ChannelNotFoundEntity:
            break
        if isinstance(found.delivery, Basic.GetEmpty):
            break
        alike = digest(found.header.properties, found.body)
        seen[alike] += 1
        key = f"{alike}-{seen[alike]}"
        taken[key] = found
        missing.discard(key)
    return taken


def _tag(taken: DeliveredMessage) -> int:
    assert taken.delivery_tag is not None
    return taken.delivery_tag
