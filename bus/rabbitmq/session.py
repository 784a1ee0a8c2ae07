"""One channel of a consumer, and the messages taken through it. A lease on a delivery ends with its channel.

The broker numbers deliveries within their channel. So a lease refers to its session and can be settled nowhere else.
After the channel has closed, the lease is lost and the message is delivered again.
"""

import asyncio
import contextlib
import logging
import re
import struct
from collections import deque
from collections.abc import Callable
from time import monotonic

from aiormq.abc import ChannelFrame, DeliveredMessage
from msgspec import Struct
from pamqp.commands import Basic

from bus.message import Delivery
from bus.rabbitmq.lanes import Cancel, Consume, Lane, Lanes, Step, new_tag
from bus.rabbitmq.letters import COUNT, Origin, delivery_of
from bus.rabbitmq.link import ANSWER_LIMIT_S, Channel, Link, store_errors
from bus.rabbitmq.reading import Delivered
from bus.store import Source, StoreError

log = logging.getLogger(__name__)

_TIMED_OUT = re.compile(r"delivery acknowledgement .*timed out.*?Timeout value used: (\d+) ms", re.DOTALL)
_OFFSET = "x-stream-offset"
_ACK = struct.Struct(">BHIHHQBB")
"""A frame of basic.ack: type, channel, length, class, method, delivery tag, multiple, end (AMQP 0-9-1 §4.2.3)."""
_FULL_AGAIN_S = 0.001


class Queues(Struct, frozen=True):
    """The names on the broker of a source's own queue and of its retry queue."""

    source: Source
    own: str
    retry: str
    counts: bool = True
    """Whether the own queue may count how often a message is given back."""

    def of(self, lane: Lane) -> str:
        return self.retry if lane is Lane.RETRY else self.own


class Lease(Struct, frozen=True, eq=False):
    """Everything needed to settle a delivery."""

    session: "Session"
    tag: int
    consumer: str
    """The tag of its consumer."""
    properties: Basic.Properties
    since_s: float
    """When it arrived (CLOCK_MONOTONIC)."""
    counts: bool
    """Whether the broker may count how often the message is given back."""


class Session:
    """`on_message` is called on each message, `on_free` on each free place, `on_change` on any other change."""

    def __init__(
        self,
        link: Link,
        channel: Channel,
        queues: Queues,
        lanes: Lanes,
        *,
        on_message: Callable[[], None],
        on_free: Callable[[], None],
        on_change: Callable[[], None],
    ) -> None:
        self.source = queues.source
        self.queues = queues
        self.lanes = lanes
        self.taken: deque[Delivery] = deque()
        """Deliveries received and not handed out."""
        self.handed: dict[int, Delivery] = {}
        """Deliveries handed out and not settled, by tag."""
        self.gone: set[Lane] = set()
        """Lanes with a consumer that the broker has cancelled, because the queue was deleted or moves."""
        self.is_stream = False
        self._link = link
        self._channel = channel
        self._on_message = on_message
        self._on_free = on_free
        self._on_change = on_change
        self._counts = queues.counts
        self._loop = asyncio.get_running_loop()
        self._acks: list[bytes] = []
        """Frames to write at the end of this turn of the event loop."""
        channel.closing.add_done_callback(lambda _: on_change())
        channel.on_consumer_cancel_callbacks.add(self._on_cancel)

    @property
    def is_closed(self) -> bool:
        return not self._link.has(self._channel)

    @property
    def why_closed(self) -> str:
        """The broker's reason, if it closed the channel."""
        closing = self._channel.closing
        error = closing.exception() if closing.done() and not closing.cancelled() else None
        return " ".join(str(error).split()) if error else ""

    @property
    def consumer_timeout_s(self) -> float | None:
        """The broker's limit for holding a message, if that is why it closed the channel."""
        found = _TIMED_OUT.search(self.why_closed)
        return int(found[1]) / 1000 if found else None

    async def carry_out(self, step: Step) -> None:
        """Begin or cancel consumers. Raises StoreError."""
        self._write_acks()
        if isinstance(step, Cancel):
            for tag in step.tags:
                self.lanes.end(tag)
                with contextlib.suppress(StoreError), store_errors("cancel"):
                    await self._channel.basic_cancel(tag, timeout=ANSWER_LIMIT_S)
        else:
            await self._consume(step)

    async def _consume(self, step: Consume) -> None:
        queue = self.queues.of(step.lane)
        with store_errors(f"{self._link.place}: cannot consume the queue {queue!r}"):
            await self._channel.basic_qos(prefetch_count=step.prefetch, timeout=ANSWER_LIMIT_S)
            tag = new_tag(step.lane)
            self.lanes.add(tag, step, monotonic())  # before the first message arrives
            try:
                await self._channel.basic_consume(queue, _late, consumer_tag=tag, timeout=ANSWER_LIMIT_S)
            except BaseException:
                self.lanes.end(tag)
                raise

    async def flush(self) -> None:
        """Let the queues process all settlements, after cancelling the consumers and before closing the channel.

        A channel holds back acknowledgements while 32 are in flight, and forgets them when it closes; the messages
        would be delivered again. A quorum queue answers a cancel after everything sent before it. Then the channel
        sends the rest, and one more request gives it the time to do so.
        """
        self._write_acks()
        with contextlib.suppress(StoreError), store_errors("finish"):
            await self._channel.exchange_declare("amq.direct", passive=True, timeout=ANSWER_LIMIT_S)

    def hand_out(self, limit: int) -> Delivery | None:
        """Return the next delivery, if there is one and fewer than `limit` are handed out."""
        if not self.taken or len(self.handed) >= limit or self.is_closed:
            return None
        delivery = self.taken.popleft()
        self.handed[delivery.lease.tag] = delivery
        return delivery

    async def settle(self, lease: Lease, *, requeue: bool = False) -> None:
        """Acknowledge a delivery that was handed out, or give it back. Does nothing if its lease is lost."""
        if self.handed.pop(lease.tag, None) is None:
            return
        await self.let_go(lease, requeue=requeue)

    def acknowledge(self, lease: Lease) -> bool:
        """Acknowledge without waiting a delivery that was handed out. Return False if its lease is lost."""
        if self.is_closed or self.handed.pop(lease.tag, None) is None:
            return False
        if not self._acks:
            self._loop.call_soon(self._write_acks)
        self._acks.append(_ACK.pack(1, self._channel.number, 13, 60, 80, lease.tag, 0, 0xCE))
        self.lanes.settled(lease.consumer, monotonic())
        self._on_free()
        return True

    def _write_acks(self) -> None:
        """Write the acknowledgements of a turn at once."""
        if self._acks and not self.is_closed:
            try:
                self._channel.connection.write_queue.put_nowait(ChannelFrame(b"".join(self._acks), should_close=False))
            except asyncio.QueueFull:  # its reader has not had its turn yet
                self._loop.call_later(_FULL_AGAIN_S, self._write_acks)
                return
        self._acks.clear()

    async def let_go(self, lease: Lease, *, requeue: bool = False) -> None:
        """Acknowledge or give back a delivery that is in neither `taken` nor `handed` any more."""
        self.lanes.settled(lease.consumer, monotonic())
        self._on_free()
        if self.is_closed:
            return
        with contextlib.suppress(StoreError), store_errors("settle"):
            if requeue:
                await self._channel.basic_nack(lease.tag, requeue=True, wait=False)
            else:
                await self._channel.basic_ack(lease.tag, wait=False)

    def take(self, delivered: Delivered, properties: Basic.Properties, body: bytes) -> None:
        """Take a message that has arrived."""
        headers = properties.headers or {}
        if _OFFSET in headers:
            self.is_stream = True
            self._on_change()
            return
        now_s = monotonic()
        is_retry = self.lanes.took(delivered.consumer, now_s, len(body)) is Lane.RETRY
        counts = is_retry or self._counts or COUNT in headers
        lease = Lease(self, delivered.tag, delivered.consumer, properties, now_s, counts)
        origin = Origin(delivered.exchange, delivered.routing_key, delivered.redelivered, is_retry)
        try:
            self.taken.append(delivery_of(self.source.queue, properties, body, origin, lease))
        except Exception:  # if given back, it would be delivered again at once
            log.exception("a message of %r cannot be read and stays unsettled; please report this", self.source.queue)
        self._on_message()

    def _on_cancel(self, frame: Basic.CancelOk | Basic.Cancel) -> None:
        tag = frame.consumer_tag
        if isinstance(frame, Basic.Cancel) and tag in self.lanes.takers:
            self.gone.add(self.lanes.takers[tag].lane)
            self.lanes.end(tag)
        self._on_change()


async def _late(_: DeliveredMessage) -> None:
    """A message for a session that has ended, whose channel is about to close."""
