"""Looking into queues: RabbitMQ shows a message only to who takes it, so it is taken, and given back in its place.

Meanwhile nobody else sees the message, and afterwards it counts as redelivered.

The broker answers neither an ack nor a nack. To a quorum queue, a channel sends only 32 of them before the queue has
carried them out (each message taken by a `get` counts); the rest it gathers in no certain order, and forgets when it is
closed (RabbitMQ's `rabbit_fifo_client`). So there are never as many: each removal is followed by the next `get`, which
the queue answers after it, and what goes back goes in small groups, each of which is seen again before the next.

A quorum queue counts how often a message is given back, and drops it at a limit that an argument or a policy sets, and
that we cannot ask for. So a message that was given back before, or that lies in a queue of others, is stored anew
behind the rest, and acknowledged; and then all the others of its queue are too, so that their order stays. A crash in
between leaves both.
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
"""A quorum queue puts what it gets back behind what it got back before, and all of it before the rest. Who takes fewer
than were looked at last time changes their order; so a few are always taken."""
_GROUP = 16
"""How many are given back, or acknowledged, at a time."""
_STORED_TOGETHER, _STORED_BYTES = 100, 16 * 1024 * 1024
"""Of those that are stored elsewhere before they are removed, how many are here at a time."""
_HELD_BYTES = 32 * 1024 * 1024
"""Bodies of messages that are to be stored anew, at most."""
_VISIBLE_LIMIT_S = 2.0
"""How long what was given back may take to be in its queue again; if others take it first, it never is."""
_ASK_EVERY_S = 0.002

StoreFirst = Callable[[Mapping[str, bytes]], Awaitable[None]]
"""Stores messages elsewhere, by their keys and with these bodies, if they are to be."""


async def browse(link: Link, queue: str, limit: int, skip: int = 0, *, is_ours: bool) -> list[Stored]:
    """The oldest `limit` ready messages behind the first `skip`, without their bodies. Raises StoreError."""
    found: list[Stored] = []
    with store_errors(f"{link.place} does not show the queue {queue!r}"):
        async with link.channel(confirms=True) as channel:
            look = _Look(channel, queue, is_ours=is_ours)
            while look.kept < max(skip + limit, _AT_LEAST) and (taken := await look.next()):
                await look.keep(taken)
                if skip < look.kept <= skip + limit:
                    found.append(_stored(look.key, taken, b""))
            await look.finish()
    return found


async def fetch(link: Link, queue: str, key: str, *, is_ours: bool) -> Stored | None:
    """The one with this key, with its body. Raises StoreError."""
    found: Stored | None = None
    with store_errors(f"{link.place} does not show the queue {queue!r}"):
        async with link.channel(confirms=True) as channel:
            look = _Look(channel, queue, is_ours=is_ours)
            while (found is None or look.kept < _AT_LEAST) and (taken := await look.next()):
                await look.keep(taken)
                if look.key == key:
                    found = _stored(look.key, taken, taken.body)
            await look.finish()
    return found


async def remove(link: Link, queue: str, keys: Collection[str] | None, store: StoreFirst, *, is_ours: bool) -> int:
    """Remove the messages with these keys, or all that are ready; those that `store` knows after it has stored them.

    Returns how many there were. Raises StoreError.
    """
    with store_errors(f"{link.place} does not remove messages from the queue {queue!r}"):
        async with link.channel(confirms=True) as channel:
            if keys is None:
                return await _purge(channel, queue)
            return await _remove(_Look(channel, queue, is_ours=is_ours), frozenset(keys), store)


async def _remove(look: "_Look", keys: Set[str], store: StoreFirst) -> int:
    """Reads no further than to the last of them, unless all are stored anew."""
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
    """Acknowledge them once they are stored elsewhere. Empties the group, and returns how many they were."""
    await store({key: taken.body for key, taken in group})
    for number, (_, taken) in enumerate(group, start=1):
        await look.channel.basic_ack(_tag(taken))
        if number % _GROUP == 0:
            await _count(look.channel, look.queue)
    count = len(group)
    group.clear()
    return count


async def _give_back(channel: Channel, queue: str, taken: Sequence[int]) -> None:
    """In this order. Returns when all can be seen again, or when that takes so long that others must have them."""
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
    """Takes ready messages, oldest first; those that are alike in everything are told apart by a number."""

    def __init__(self, channel: Channel, queue: str, *, is_ours: bool) -> None:
        self.channel = channel
        self.queue = queue
        self.key = ""
        """Of the message that was taken last."""
        self.kept = 0
        """How many are left in the queue."""
        self._is_ours = is_ours
        self._seen: Counter[str] = Counter()
        self._tags: list[int] = []
        self._id = uuid4().hex
        self._is_over = False
        self._moves = False
        """Whether what is kept is stored anew behind the rest."""
        self._held: list[DeliveredMessage] = []
        """What will be, once all are here: so that no copy is met."""
        self._held_bytes = 0

    async def next(self) -> DeliveredMessage | None:
        """None if there is none, or no such queue; what was stored anew is not met again."""
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
        """It stays in the queue."""
        self.kept += 1
        count = (taken.header.properties.headers or {}).get(COUNT)
        if isinstance(count, int) and (count > 0 or not self._is_ours):
            self._moves = True
        if not self._moves:
            self._tags.append(_tag(taken))
            return
        self._held.append(taken)
        self._held_bytes += len(taken.body)
        if self._held_bytes > _HELD_BYTES:  # from here on the copies are met at the end
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
        except DeliveryError:  # the queue takes no more
            self._tags.append(_tag(taken))
        else:
            await self.channel.basic_ack(_tag(taken))


def _tag(taken: DeliveredMessage) -> int:
    assert taken.delivery_tag is not None
    return taken.delivery_tag
