"""Looking into queues. RabbitMQ shows a message only to its consumer, so it is taken and given back in its place.

In the meantime nobody else sees the message, and afterwards it counts as redelivered.

The broker confirms neither an ack nor a nack. A channel sends at most 32 of them (and of messages taken by a `get`) to
a quorum queue before the queue has processed them. It collects the rest in no certain order, and forgets them when it
is closed (RabbitMQ's `rabbit_fifo_client`). So there are never that many: the next `get` follows each removal, and the
queue answers it after the removal. Messages are given back in small groups, and each group must be visible again before
the next.

A quorum queue counts how often a message is given back, and drops it at a limit set by an argument or a policy, which a
client cannot read. So a message that was given back before, or that is in somebody else's queue, is stored again behind
the others and acknowledged. To keep their order, so are all others of its queue. A crash in between leaves both copies.
"""

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence, Set
from uuid import uuid4

import anyio
from aio_pika.exceptions import ChannelNotFoundEntity, DeliveryError
from aiormq.abc import DeliveredMessage
from pamqp.commands import Basic

from bus.rabbitmq.letters import COUNT, MOVED, digest, message_of, moved_copy, timestamp_s, with_more_properties
from bus.rabbitmq.link import ANSWER_LIMIT_S, Channel, Link, store_errors
from bus.store import Stored

_AT_LEAST = 200
"""A quorum queue puts returned messages behind those returned before, and all of these before the rest. So a look that
takes fewer messages than the last one changes their order; to avoid that, every look takes at least these."""
_GROUP = 16
"""How many messages are given back, or acknowledged, at a time."""
_STORED_TOGETHER, _STORED_BYTES = 100, 16 * 1024 * 1024
"""How many messages are held at a time that must be stored elsewhere before their removal."""
_HELD_BYTES = 32 * 1024 * 1024
"""The most bytes of bodies held of messages that will be stored again."""
_VISIBLE_LIMIT_S = 2.0
"""How long to wait for returned messages to be visible again: they never are if others take them first."""
_ASK_EVERY_S = 0.002

StoreFirst = Callable[[Mapping[str, bytes]], Awaitable[None]]
"""Stores those of these messages elsewhere that must be stored: bodies by key."""


async def browse(link: Link, queue: str, limit: int, skip: int = 0, *, is_ours: bool) -> list[Stored]:
    """Return the oldest `limit` ready messages after the first `skip`, without their bodies. Raises StoreError."""
    found: list[Stored] = []
    with store_errors(f"{link.place}: cannot look into the queue {queue!r}"):
        async with link.channel(confirms=True) as channel:
            look = _Look(channel, queue, is_ours=is_ours)
            while look.kept < max(skip + limit, _AT_LEAST) and (taken := await look.next()):
                await look.keep(taken)
                if skip < look.kept <= skip + limit:
                    found.append(_stored(look.key, taken, b""))
            await look.finish()
    return found


async def fetch(link: Link, queue: str, key: str, *, is_ours: bool) -> Stored | None:
    """Return the message with this key, with its body. Raises StoreError."""
    found: Stored | None = None
    with store_errors(f"{link.place}: cannot look into the queue {queue!r}"):
        async with link.channel(confirms=True) as channel:
            look = _Look(channel, queue, is_ours=is_ours)
            while (found is None or look.kept < _AT_LEAST) and (taken := await look.next()):
                await look.keep(taken)
                if look.key == key:
                    found = _stored(look.key, taken, taken.body)
            await look.finish()
    return found


async def remove(link: Link, queue: str, keys: Collection[str] | None, store: StoreFirst, *, is_ours: bool) -> int:
    """Remove the messages with these keys after calling `store` with them, or (None) all that are ready.

    Returns the number of removed messages. Raises StoreError.
    """
    with store_errors(f"{link.place}: cannot remove messages from the queue {queue!r}"):
        async with link.channel(confirms=True) as channel:
            if keys is None:
                return await _purge(channel, queue)
            return await _remove(_Look(channel, queue, is_ours=is_ours), frozenset(keys), store)


async def _remove(look: "_Look", keys: Set[str], store: StoreFirst) -> int:
    """Read no further than the last of them, unless all messages are stored again."""
    removed = 0
    group: list[tuple[str, DeliveredMessage]] = []
    group_bytes = 0
    while removed + len(group) < len(keys) or removed + len(group) + look.kept < _AT_LEAST:
        if (found := await look.next()) is None:
            break
        if look.key not in keys:
            await look.keep(found)
            continue
        group.append((look.key, found))
        group_bytes += len(found.body)
        if len(group) == _STORED_TOGETHER or group_bytes >= _STORED_BYTES:
            removed, group_bytes = removed + await _finish(look, group, store), 0
    removed += await _finish(look, group, store)
    await look.finish()
    return removed


async def _finish(look: "_Look", group: list[tuple[str, DeliveredMessage]], store: StoreFirst) -> int:
    """Store the messages elsewhere, then acknowledge them. Empties the group; returns its size."""
    await store({key: taken.body for key, taken in group})
    for number, (_, taken) in enumerate(group, start=1):
        await look.channel.basic_ack(_tag(taken))
        if number % _GROUP == 0:
            await _count(look.channel, look.queue)
    count = len(group)
    group.clear()
    return count


async def _give_back(channel: Channel, queue: str, taken: Sequence[int]) -> None:
    """Give messages back in this order. Return when all are visible again, or others must have taken them."""
    if not taken:
        return
    ready, end_s = await _count(channel, queue), time.monotonic() + _VISIBLE_LIMIT_S
    for start in range(0, len(taken), _GROUP):
        group = taken[start : start + _GROUP]
        for each in group:
            await channel.basic_nack(each, requeue=True)
        ready += len(group)
        await _wait_visible(channel, queue, ready, end_s)


async def _wait_visible(channel: Channel, queue: str, ready: int, end_s: float) -> None:
    while await _count(channel, queue) < ready:
        if time.monotonic() >= end_s:
            return
        await anyio.sleep(_ASK_EVERY_S)


async def _count(channel: Channel, queue: str) -> int:
    return (await channel.queue_declare(queue, passive=True, timeout=ANSWER_LIMIT_S)).message_count or 0


def _stored(key: str, taken: DeliveredMessage, body: bytes) -> Stored:
    properties = taken.header.properties
    message = with_more_properties(message_of(properties, body), properties)
    return Stored(key=key, message=message, size_bytes=len(taken.body), stored_at_s=timestamp_s(properties))


async def _purge(channel: Channel, queue: str) -> int:
    try:
        return (await channel.queue_purge(queue, timeout=ANSWER_LIMIT_S)).message_count or 0
    except ChannelNotFoundEntity:
        return 0


class _Look:
    """Takes ready messages, oldest first. A number in the key distinguishes identical messages."""

    def __init__(self, channel: Channel, queue: str, *, is_ours: bool) -> None:
        self.channel = channel
        self.queue = queue
        self.key = ""
        """The key of the message taken last."""
        self.kept = 0
        """How many messages stay in the queue."""
        self._is_ours = is_ours
        self._seen: Counter[str] = Counter()
        self._tags: list[int] = []
        self._id = uuid4().hex
        self._is_over = False
        self._moves = False
        """Whether messages that stay are stored again behind the others."""
        self._held: list[DeliveredMessage] = []
        """Messages to store again once all are taken, so that no copy is taken too."""
        self._held_bytes = 0

    async def next(self) -> DeliveredMessage | None:
        """Take the next message; None if there are no more (or no queue). Never one that this look has stored again."""
        try:
            if self._is_over:
                return None
            found = await self.channel.basic_get(self.queue, timeout=ANSWER_LIMIT_S)
        except ChannelNotFoundEntity:
            return None
        if isinstance(found.delivery, Basic.GetEmpty):
            return None
        if (found.header.properties.headers or {}).get(MOVED) == self._id:
            self._is_over = True
            await self._store_anew(found)
            return None
        alike = digest(found.header.properties, found.body)
        self._seen[alike] += 1
        self.key = f"{alike}-{self._seen[alike]}"
        return found

    async def keep(self, taken: DeliveredMessage) -> None:
        """Note that this message stays in the queue."""
        self.kept += 1
        count = (taken.header.properties.headers or {}).get(COUNT)
        if isinstance(count, int) and (count > 0 or not self._is_ours):
            self._moves = True
        if not self._moves:
            self._tags.append(_tag(taken))
            return
        self._held.append(taken)
        self._held_bytes += len(taken.body)
        if self._held_bytes > _HELD_BYTES:  # the copies now lie in the queue: `next` stops at the first of them
            await self._flush()

    async def finish(self) -> None:
        """Leave the queue as it was."""
        while self._moves and (taken := await self.next()):
            await self.keep(taken)
        await self._flush()
        await _give_back(self.channel, self.queue, self._tags)

    async def _flush(self) -> None:
        for each in self._held:
            await self._store_anew(each)
        self._held.clear()

    async def _store_anew(self, taken: DeliveredMessage) -> None:
        copy = moved_copy(taken.header.properties, taken.body, self._id)
        try:
            await self.channel.basic_publish(
                copy.body, routing_key=self.queue, properties=copy.properties, mandatory=True, timeout=ANSWER_LIMIT_S
            )
        except DeliveryError:  # the queue is full
            self._tags.append(_tag(taken))
        else:
            await self.channel.basic_ack(_tag(taken))


def _tag(taken: DeliveredMessage) -> int:
    assert taken.delivery_tag is not None
    return taken.delivery_tag
