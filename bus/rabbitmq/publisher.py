"""Publishing: a message published without an error is on the disks of a majority of the nodes that have the queue.

Every message is persistent, mandatory and confirmed. The broker returns a message whose queue is missing. Only then is
the queue looked up and made, and the message published again: there are queues that we may publish to but not look at,
such as the exclusive queue of a client that waits for a reply. A message that is not confirmed in time may have been
stored, and the error says so.
"""

import contextlib
import logging
import time
from collections.abc import AsyncIterator, Sequence
from weakref import WeakValueDictionary

import anyio
from aio_pika.exceptions import DeliveryError, PublishError
from msgspec import Struct

from bus.limits import check
from bus.message import Outgoing
from bus.rabbitmq.delays import ladder, routing_key, steps
from bus.rabbitmq.fields import encode_text
from bus.rabbitmq.letters import UNENCODABLE, Letter, letter
from bus.rabbitmq.link import Channel, Link, UnopenedError, store_errors
from bus.rabbitmq.topology import Topology
from bus.store import RefusedError, StoreError

log = logging.getLogger(__name__)

_IN_FLIGHT = 200
"""The most messages that wait for confirmation at a time."""
_REPLY_TO = "amq.rabbitmq.reply-to"
"""The beginning of RabbitMQ's direct reply-to addresses."""


class Parcel(Struct, frozen=True):
    """A letter on its way to a queue. `path`: the levels of the ladder that delay it."""

    queue: str
    letter: Letter
    path: tuple[int, ...] = ()


def parcel(outgoing: Outgoing) -> Parcel:
    """Make a parcel. Raises RefusedError for a name that is too long or a delay that RabbitMQ cannot provide."""
    check(outgoing)
    path = path_of(outgoing.delay_s)
    if path and outgoing.queue.startswith(_REPLY_TO):
        raise RefusedError(f"a message to {outgoing.queue!r} cannot be delayed: a reply address cannot be bound")
    return Parcel(outgoing.queue, letter(outgoing.message, outgoing.queue if path else ""), path)


def path_of(delay_s: float) -> tuple[int, ...]:
    """Like `steps`, but raises RefusedError."""
    try:
        return steps(delay_s)
    except ValueError as error:
        raise RefusedError(str(error)) from None


class Publisher:
    """`limit_s`: how long a confirmation may take."""

    def __init__(self, link: Link, topology: Topology, limit_s: float) -> None:
        self._link = link
        self._topology = topology
        self._limit_s = limit_s
        self._channels: dict[bool, Channel] = {}
        """One for the ladder of delays, one for the rest: a queue without a leader blocks its whole channel."""
        self._opening = anyio.Lock()
        self._slots = anyio.Semaphore(_IN_FLIGHT)
        self._ids: dict[str, anyio.Event] = {}
        self._meetings: WeakValueDictionary[str, anyio.Lock] = WeakValueDictionary()
        """A lock for each queue that gets its first message."""

    async def publish(self, parcels: Sequence[Parcel]) -> list[StoreError | None]:
        """Publish all, and return an error for each, or None if it is stored."""
        if len(parcels) == 1:
            return [await self._attempt(parcels[0])]
        results: list[StoreError | None] = [StoreError("it was not published") for _ in parcels]

        async def one(number: int) -> None:
            results[number] = await self._attempt(parcels[number])

        async with anyio.create_task_group() as group:
            for number in range(len(parcels)):
                group.start_soon(one, number)
        return results

    async def _attempt(self, parcel: Parcel) -> StoreError | None:
        try:
            async with self._slots:
                await self._publish(parcel)
        except StoreError as error:
            self._topology.forget()
            return error
        except Exception as error:
            log.exception("a message to %r: unexpected error; please report this", parcel.queue)
            return StoreError(f"a message to {parcel.queue!r}: {type(error).__name__}: {error}")
        return None

    async def _publish(self, parcel: Parcel) -> None:
        _check(parcel, self._link.frame_bytes)
        if parcel.queue.startswith(_REPLY_TO):
            await self._reply(parcel)
            return
        if parcel.path:
            await self._topology.ensure_ladder(ladder(self._topology.names, parcel.path, parcel.queue))
        if self._topology.has_seen(parcel.queue):
            await self._deliver(parcel)
            return
        meeting = self._meetings.setdefault(parcel.queue, anyio.Lock())
        async with meeting:  # otherwise a later message could overtake those that wait until the queue is made
            if not self._topology.has_seen(parcel.queue):
                await self._deliver(parcel)
                self._topology.note_seen(parcel.queue)
                return
        await self._deliver(parcel)

    async def _deliver(self, parcel: Parcel) -> None:
        began_s = time.monotonic()
        if await self._confirmed(parcel):
            return
        await self._topology.ensure_since(parcel.queue, began_s)
        if not await self._confirmed(parcel):
            raise StoreError(f"{self._link.place} cannot route a message to the queue {parcel.queue!r}")

    async def _reply(self, parcel: Parcel) -> None:
        """Send to a direct reply-to address. It is not a queue: the broker returns even a reply that it delivers."""
        if await self._topology.look_up(parcel.queue) is None:
            raise RefusedError(f"nobody waits for a reply at {parcel.queue!r} any more")
        await self._confirmed(parcel)

    async def _confirmed(self, parcel: Parcel) -> bool:
        """Publish; return whether the broker could route it, and so has stored it.

        A refusal closes the channel without saying which of the unconfirmed messages it concerns. So each of them is
        sent again, through a channel of its own. If aiormq still sends on the closed channel, the broker may close the
        connection too; then the second attempt uses the next connection.
        """
        with contextlib.suppress(RefusedError):
            return await self._sent(await self._channel(delayed=bool(parcel.path)), parcel)
        with contextlib.suppress(UnopenedError):
            return await self._sent_apart(parcel)
        return await self._sent_apart(parcel)

    async def _sent_apart(self, parcel: Parcel) -> bool:
        async with self._link.channel(confirms=True) as channel:
            return await self._sent(channel, parcel)

    async def _sent(self, channel: Channel, parcel: Parcel) -> bool:
        properties = parcel.letter.properties
        unknown = f"{self._link.place} did not confirm a message to {parcel.queue!r}; whether it was stored is unknown"
        async with self._alone(properties.message_id):
            try:
                with store_errors(unknown), anyio.fail_after(self._limit_s), self._link.while_up():
                    await channel.basic_publish(
                        parcel.letter.body,
                        exchange=self._topology.names.entry if parcel.path else "",
                        routing_key=routing_key(parcel.path) if parcel.path else parcel.queue,
                        properties=properties,
                        mandatory=not parcel.queue.startswith(_REPLY_TO),
                    )
            except RefusedError as error:
                raise RefusedError(
                    f"{self._link.place} refuses a message to {parcel.queue!r}: {error.__cause__}"
                ) from error.__cause__
            except StoreError as error:
                if error.__cause__ is None and unknown not in str(error):
                    raise StoreError(f"{unknown}: {error}") from None
                if isinstance(error.__cause__, PublishError):
                    return False
                if isinstance(error.__cause__, DeliveryError):
                    raise StoreError(f"{self._link.place} refuses a message to {parcel.queue!r}: it is full") from None
                raise
        return True

    @contextlib.asynccontextmanager
    async def _alone(self, message_id: str | None) -> AsyncIterator[None]:
        """Never send two messages with one id at a time: aiormq identifies returned messages by their id."""
        if not message_id:
            yield
            return
        while message_id in self._ids:
            await self._ids[message_id].wait()
        done = self._ids[message_id] = anyio.Event()
        try:
            yield
        finally:
            del self._ids[message_id]
            done.set()

    async def _channel(self, *, delayed: bool) -> Channel:
        async with self._link.turn(self._opening):
            if await self._link.look_blocked():
                raise StoreError(f"{self._link.place} accepts no messages: it has too little memory or disk space left")
            channel = self._channels.get(delayed)
            if channel is None or not self._link.has(channel):
                channel = self._channels[delayed] = await self._link.open_channel(confirms=True)
            return channel


def _check(parcel: Parcel, frame_bytes: int) -> None:
    """Raise RefusedError for anything AMQP cannot encode, or not in one frame, so that nothing fails in the library."""
    try:
        encode_text(parcel.queue)
        if parcel.letter.size_bytes <= frame_bytes:
            return
    except UNENCODABLE as error:
        raise RefusedError(f"a message to {parcel.queue!r} cannot be encoded for AMQP: {error}") from None
    raise RefusedError(f"the headers of a message to {parcel.queue!r} are too large for AMQP")
