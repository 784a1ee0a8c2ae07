"""Delayed messages whose queue was gone when they were due: they become dead letters, and are logged.

The ladder of delays puts unroutable messages, unchanged, into a queue of its own (see `delays`). Any node of the
application takes them out.
"""

import logging
from collections import Counter

import anyio
from aiormq.abc import DeliveredMessage
from pamqp.commands import Basic

from bus.rabbitmq.delays import TO
from bus.rabbitmq.letters import Letter, Origin, dead_copy, delivery_of, trimmed
from bus.rabbitmq.link import ANSWER_LIMIT_S, Channel, Link, store_errors
from bus.rabbitmq.publisher import Parcel, Publisher
from bus.rabbitmq.topology import Topology
from bus.retry import Dead
from bus.store import StoreError

log = logging.getLogger(__name__)

_PREFETCH = 32
_LOOK_S = 20.0
"""How often to look for the queue, which another node may have made."""
_AGAIN_S = 1.0


class Undelivered:
    """Run `run` in a task."""

    def __init__(self, link: Link, topology: Topology, publisher: Publisher) -> None:
        self._link = link
        self._topology = topology
        self._names = topology.names
        self._publisher = publisher
        self._changed = anyio.Event()
        self._taken: list[DeliveredMessage] = []

    async def run(self) -> None:
        """Turn undelivered messages into dead letters until cancelled."""
        self._topology.on_seen.add(self._note_seen)
        try:
            while True:
                await self._link.wait_up()
                try:
                    await self._take_all()
                except StoreError as error:
                    log.debug("messages without a queue will be checked later: %s", error)
                    await anyio.sleep(_AGAIN_S)
        finally:
            self._topology.on_seen.discard(self._note_seen)

    def _note_seen(self, queue: str) -> None:
        if queue == self._names.lost:
            self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    async def _take_all(self) -> None:
        """Consume the queue while the channel is open. Raises StoreError."""
        changed = self._changed
        if await self._topology.look_up(self._names.lost) is None:
            with anyio.move_on_after(_LOOK_S):
                await changed.wait()
            return
        with store_errors(f"{self._link.place}: cannot consume the queue {self._names.lost!r}"):
            async with self._link.channel() as channel:
                self._taken.clear()
                channel.closing.add_done_callback(lambda _: self._wake())
                channel.on_consumer_cancel_callbacks.add(lambda _: self._wake())
                await channel.basic_qos(prefetch_count=_PREFETCH, timeout=ANSWER_LIMIT_S)
                await channel.basic_consume(self._names.lost, self._on_message, timeout=ANSWER_LIMIT_S)
                while self._link.has(channel):
                    changed = self._changed
                    await self._move(channel)
                    await changed.wait()
                    if not self._taken and await self._topology.look_up(self._names.lost) is None:
                        return

    async def _on_message(self, delivered: DeliveredMessage) -> None:
        self._taken.append(delivered)
        self._wake()

    async def _move(self, channel: Channel) -> None:
        """Store each message as a dead letter, confirmed before it is acknowledged."""
        moved: Counter[str] = Counter()
        while self._taken:
            delivered = self._taken[0]
            to = str((delivered.header.properties.headers or {}).get(TO, ""))
            errors = await self._publisher.publish([Parcel(self._names.undelivered, self._letter(delivered, to))])
            if errors[0] is not None:
                raise errors[0]
            self._taken.pop(0)
            moved[to] += 1
            frame = delivered.delivery
            assert isinstance(frame, Basic.Deliver)
            assert frame.delivery_tag is not None
            await channel.basic_ack(frame.delivery_tag, wait=False)
        for to, count in moved.items():
            log.warning(
                "%s: %d delayed messages could not be delivered because the queue %r was gone when they were due: "
                "they are dead letters now, see `forklight dlq list`",
                *(self._link.place, count, to),
            )

    def _letter(self, delivered: DeliveredMessage, to: str) -> Letter:
        properties = delivered.header.properties
        function, queue = self._names.retried(to) or ("", self._names.house(to))
        delivery = delivery_of(queue, properties, delivered.body, Origin("", to, False, bool(function)), None)
        error = f"the queue {to!r} was gone when the message was due"
        letter, _ = trimmed(
            dead_copy(properties, delivery, Dead("Unroutable", error), function), self._link.frame_bytes
        )
        return letter
