"""One channel of a consumer, and what was taken through it: a delivery is leased for as long as its channel is open.

The broker numbers deliveries within their channel. A lease holds its session, so that it can be settled nowhere else:
after the channel is gone it is lost, and the message is delivered again. aiormq runs a callback for each message and
cancels those that still run when the channel closes, so ours only puts the message aside.
"""

import contextlib
import logging
from collections import deque
from collections.abc import Callable
from uuid import uuid4

from aiormq.abc import DeliveredMessage
from msgspec import Struct
from pamqp.commands import Basic

from bus.message import Delivery
from bus.rabbitmq.letters import Origin, delivery_of
from bus.rabbitmq.link import ANSWER_LIMIT_S, Channel, Link, store_errors
from bus.store import Source, StoreError

log = logging.getLogger(__name__)

_MOST = 65_535
"""The largest prefetch that AMQP can say."""


class Queues(Struct, frozen=True):
    """What the broker calls the queues of a source: its own, and that of its retries."""

    source: Source
    own: str
    retry: str


class Lease(Struct, frozen=True, eq=False):
    """What a delivery is settled with."""

    session: "Session"
    tag: int
    properties: Basic.Properties


class Session:
    """`on_change` is called, in the event loop, when there is something new: a message, a free place, an end."""

    def __init__(
        self, link: Link, channel: Channel, queues: Queues, prefetch: int, on_change: Callable[[], None]
    ) -> None:
        self.source = queues.source
        self.queue = queues.own
        self.retry_queue = queues.retry
        self.taken: deque[Delivery] = deque()
        """Here, and not handed out."""
        self.handed: set[int] = set()
        """The tags of those handed out and not settled."""
        self.consumed: dict[str, str] = {}
        """The consumer tag by queue."""
        self._link = link
        self._channel = channel
        self._on_change = on_change
        self._prefetch = {self.queue: min(prefetch, _MOST), self.retry_queue: min(max(1, prefetch // 2), _MOST)}
        channel.closing.add_done_callback(lambda _: on_change())
        channel.on_consumer_cancel_callbacks.add(self._on_cancel)

    @property
    def is_closed(self) -> bool:
        return not self._link.has(self._channel)

    @property
    def missing(self) -> list[str]:
        """The queues that it should consume and does not."""
        return [queue for queue in self._prefetch if queue not in self.consumed]

    async def consume(self, queue: str) -> None:
        """Begin to take messages from it. Raises StoreError."""
        with store_errors(f"cannot consume the queue {queue!r}"):
            await self._channel.basic_qos(prefetch_count=self._prefetch[queue], timeout=ANSWER_LIMIT_S)
            tag = self.consumed[queue] = uuid4().hex  # known before the first message comes
            try:
                await self._channel.basic_consume(queue, self._on_message, consumer_tag=tag, timeout=ANSWER_LIMIT_S)
            except BaseException:
                self.consumed.pop(queue, None)
                raise

    async def cancel(self) -> None:
        """Take no more, and give back what was not handed out."""
        for queue, tag in tuple(self.consumed.items()):
            self.consumed.pop(queue, None)
            with contextlib.suppress(StoreError), store_errors("cancel"):
                await self._channel.basic_cancel(tag, timeout=ANSWER_LIMIT_S)
        while self.taken:
            await self._give_back(self.taken.popleft().lease.tag)

    async def finish(self) -> None:
        """Before the channel is closed: let the queue carry out what was settled.

        A channel holds back acknowledgements when 32 are on their way, and forgets them at its end; the messages would
        be delivered again. A quorum queue answers a cancel after all that was sent to it before; then the channel sends
        the rest, and asking it anything more gives it the time.
        """
        await self.cancel()
        with contextlib.suppress(StoreError), store_errors("finish"):
            await self._channel.queue_declare(self.queue, passive=True, timeout=ANSWER_LIMIT_S)

    def hand_out(self, limit: int) -> Delivery | None:
        """The next one, if one is here and fewer than `limit` are handed out."""
        if not self.taken or len(self.handed) >= limit or self.is_closed:
            return None
        delivery = self.taken.popleft()
        self.handed.add(delivery.lease.tag)
        return delivery

    async def settle(self, tag: int, *, requeue: bool = False) -> None:
        """Acknowledge it, or give it back. A lease that is lost is no error."""
        if tag not in self.handed:
            return
        self.handed.discard(tag)
        self._on_change()
        if requeue:
            await self._give_back(tag)
        else:
            with contextlib.suppress(StoreError), store_errors("ack"):
                await self._channel.basic_ack(tag, wait=False)

    async def _give_back(self, tag: int) -> None:
        with contextlib.suppress(StoreError), store_errors("nack"):
            await self._channel.basic_nack(tag, requeue=True, wait=False)

    async def _on_message(self, delivered: DeliveredMessage) -> None:
        frame, properties = delivered.delivery, delivered.header.properties
        assert isinstance(frame, Basic.Deliver)
        assert frame.delivery_tag is not None
        is_retry = frame.consumer_tag == self.consumed.get(self.retry_queue)
        if not is_retry and frame.consumer_tag != self.consumed.get(self.queue):
            await self._give_back(frame.delivery_tag)  # it came while we cancelled
            return
        lease = Lease(self, frame.delivery_tag, properties)
        origin = Origin(frame.exchange or "", frame.routing_key or "", bool(frame.redelivered), is_retry)
        try:
            self.taken.append(delivery_of(self.source.queue, properties, delivered.body, origin, lease))
        except Exception:  # given back, it would come again at once
            log.exception("a message of %r cannot be read, and is left alone; please report this", self.source.queue)
        self._on_change()

    def _on_cancel(self, frame: Basic.CancelOk | Basic.Cancel) -> None:
        for queue, tag in tuple(self.consumed.items()):
            if tag == frame.consumer_tag:
                del self.consumed[queue]
        self._on_change()
