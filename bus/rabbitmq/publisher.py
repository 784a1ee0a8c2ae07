"""Publishing: what returns without an error is on the disks of a majority of the broker's nodes that have the queue.

Every message is persistent, mandatory and confirmed. One whose queue is missing comes back; only then is the queue
looked up and made, and the message published once more: a queue that can be published to may not be one that we may
look at, as the exclusive one of a client that waits for a reply. What is not confirmed in time may have been stored:
the error says that it is unknown.
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
"""Messages at a time that wait for the broker's confirmation."""
_REPLY_TO = "amq.rabbitmq.reply-to"
"""What RabbitMQ's direct reply-to addresses begin with."""


class Parcel(Struct, frozen=True):
    """A letter on its way to a queue, `path` levels of the ladder down if it is to arrive later."""

    queue: str
    letter: Letter
    path: tuple[int, ...] = ()


def parcel(outgoing: Outgoing) -> Parcel:
    """Raises RefusedError for a name that is too long or a delay that RabbitMQ cannot do."""
    check(outgoing)
    path = path_of(outgoing.delay_s)
    if path and outgoing.queue.startswith(_REPLY_TO):
        raise RefusedError(f"a message to {outgoing.queue!r} cannot be delayed: it is no queue that could be bound")
    return Parcel(outgoing.queue, letter(outgoing.message, outgoing.queue if path else ""), path)


def path_of(delay_s: float) -> tuple[int, ...]:
    """As `steps`, with the error that a store raises."""
    try:
        return steps(delay_s)
    except ValueError as error:
        raise RefusedError(str(error)) from None


class Publisher:
    """`limit_s` is how long a confirmation may take."""

    def __init__(self, link: Link, topology: Topology, limit_s: float) -> None:
        self._link = link
        self._topology = topology
        self._limit_s = limit_s
        self._channels: dict[bool, Channel] = {}
        """One for the ladder of delays, one for the rest: a queue without a leader holds up all of its channel."""
        self._opening = anyio.Lock()
        self._slots = anyio.Semaphore(_IN_FLIGHT)
        self._ids: dict[str, anyio.Event] = {}
        self._meetings: WeakValueDictionary[str, anyio.Lock] = WeakValueDictionary()
        """For each queue that a message is sent to for the first time."""

    async def publish(self, parcels: Sequence[Parcel]) -> list[StoreError | None]:
        """What became of each: None if it is stored."""
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
            log.exception("a message to %r: an error that nobody expected; please report this", parcel.queue)
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
        async with meeting:  # or what is sent while the queue is made would overtake what waits for it
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
        """To who waits at a direct reply-to address: no queue, so that the broker returns as lost what it delivers."""
        if await self._topology.look_up(parcel.queue) is None:
            raise RefusedError(f"nobody waits for a reply at {parcel.queue!r} any more")
        await self._confirmed(parcel)

    async def _confirmed(self, parcel: Parcel) -> bool:
        """Whether the broker could route it; it has it then.

        A refusal closes the channel and does not say which of the messages on their way it is for: so each of them
        goes once more, through a channel of its own. What aiormq had yet to send on the closed one may have the broker
        close the connection as well, and then there is another soon.
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
        """No two messages with one id at a time: aiormq finds by its id the message that the broker returns."""
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
                raise StoreError(f"{self._link.place} takes no messages: it has too little memory or disk space left")
            channel = self._channels.get(delayed)
            if channel is None or not self._link.has(channel):
                channel = self._channels[delayed] = await self._link.open_channel(confirms=True)
            return channel


def _check(parcel: Parcel, frame_bytes: int) -> None:
    """Raises RefusedError for what AMQP cannot say, or not in one frame: nothing that is sent fails in the library."""
    try:
        encode_text(parcel.queue)
        if parcel.letter.size_bytes <= frame_bytes:
            return
    except UNENCODABLE as error:
        raise RefusedError(f"a message to {parcel.queue!r} is none for AMQP: {error}") from None
    raise RefusedError(f"the headers of a message to {parcel.queue!r} are too large for AMQP")
