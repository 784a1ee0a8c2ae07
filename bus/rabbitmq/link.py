"""One connection to the broker, reopened whenever it is lost.

A connection can die silently, when packets are lost or the other machine is gone. Heartbeats take half a minute to
notice that, so each link also asks the broker something every few seconds, and gives up the connection if there is no
answer. While the broker blocks the connection (memory or disk alarm), it answers nothing by design, so the link does
not ask.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aio_pika
import aiormq
import anyio
from aio_pika.exceptions import CONNECTION_EXCEPTIONS, ChannelPreconditionFailed
from aiormq.exceptions import ChannelAccessRefused, ChannelLockedResource

from bus.keeping import keep_doing
from bus.rabbitmq import fields
from bus.rabbitmq.address import Address, refusal
from bus.rabbitmq.reading import Sink, Transports
from bus.store import RefusedError, StoreError

log = logging.getLogger(__name__)
# They log each lost connection with a traceback; this module logs it in one line.
for _name in ("aiormq.connection", "aiormq.channel", "aio_pika"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)

CONNECT_LIMIT_S = 10.0
ANSWER_LIMIT_S = 5.0
"""How long the broker may take to answer anything but a publish."""
PATIENCE_S = 2.0
"""How long an operation waits for a connection before it fails."""
_LOOK_EVERY_S, _LOOKS_AN_ASK = 1.0, 5
_BELIEVED_S = 0.05
"""How long the answer to whether the broker reads is reused."""
_FIRST_DELAY_S, _LONGEST_DELAY_S = 0.05, 2.0
_CLOSE_LIMIT_S = 3.0
_MOST_CHANNELS = 65535
_FRAME_BYTES = 131072
"""RabbitMQ's default."""

_REFUSALS = (ChannelAccessRefused, ChannelLockedResource, ChannelPreconditionFailed)
"""AMQP's 403, 405 and 406: the same request would get the same answer again."""
ERRORS = (*CONNECTION_EXCEPTIONS, TimeoutError)

Channel = aiormq.abc.AbstractChannel


@contextlib.contextmanager
def store_errors(what: str) -> Iterator[None]:
    """Turn aio-pika's exceptions into a StoreError that begins with `what`; into a RefusedError if the broker refuses.

    Futures that end with their connection raise CancelledError. If it were taken for a cancellation of our task, a
    message could count as stored although it is not.
    """
    try:
        yield
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise StoreError(f"{what}: the connection was lost") from None
    except TimeoutError:
        raise StoreError(f"{what}: no answer in time") from None
    except ERRORS as error:
        kind = RefusedError if isinstance(error, _REFUSALS) else StoreError
        raise kind(f"{what}: {' '.join(str(error).split()) or type(error).__name__}") from error
    except StoreError:
        raise
    except Exception as error:
        log.exception("%s: unexpected error; please report this", what)
        raise StoreError(f"{what}: {type(error).__name__}: {error}") from error


class UnopenedError(StoreError):
    """There is no channel, so nothing was sent."""


class Link:
    """Call `connect` once, then run `run` in a task. `role` goes into the connection's name on the broker."""

    def __init__(self, address: Address, role: str) -> None:
        self._address = address
        self._role = role
        self._connection: aio_pika.abc.AbstractConnection | None = None
        self._sinks: dict[int, Sink] = {}
        """Of the present connection."""
        self._up = anyio.Event()
        self._down = anyio.Event()
        self._users: set[anyio.CancelScope] = set()
        self.is_blocked = False
        """Whether the broker had stopped reading from us, for lack of memory or disk space, at the last check."""
        self._looked_s = 0.0

    @property
    def place(self) -> str:
        """The broker's name in messages."""
        return self._address.place

    @property
    def is_up(self) -> bool:
        """Whether it is connected: False as soon as the connection has ended, even before `run` notices."""
        transport = self._connection.transport if self._connection else None
        return transport is not None and not transport.connection.is_closed

    async def look_blocked(self) -> bool:
        """Update and return `is_blocked`, which is believed for a moment: finding it out costs 20 µs."""
        connection, now_s = self._connection, time.monotonic()
        if now_s - self._looked_s >= _BELIEVED_S:
            self._looked_s = now_s
            self.is_blocked = connection is not None and not await _is_ready(connection)
        return self.is_blocked

    @property
    def major_version(self) -> int:
        """The major version of the broker at the last connection; 0 if it is unknown."""
        transport = self._connection.transport if self._connection else None
        version: Any = transport.connection.server_properties.get("version") if transport else ""
        head = str(version or "").partition(".")[0]
        return int(head) if head.isdecimal() else 0

    @property
    def frame_bytes(self) -> int:
        """The longest frame that the broker accepts. The headers of a message must fit into one."""
        transport = self._connection.transport if self._connection else None
        return (transport.connection.connection_tune.frame_max if transport else 0) or _FRAME_BYTES

    @property
    def most_channels(self) -> int:
        """How many channels the broker allows for a connection."""
        transport = self._connection.transport if self._connection else None
        return (transport.connection.connection_tune.channel_max if transport else 0) or _MOST_CHANNELS

    async def connect(self) -> None:
        """Connect. Raises StoreError with a one-line explanation."""
        fields.install()
        self._connection = await self._connected()
        self._down = anyio.Event()
        self._up.set()

    async def _connected(self) -> aio_pika.abc.AbstractConnection:
        url = self._address.url.update_query(name=f"{self._address.url.query['name']} {self._role}")
        connection, transports = aio_pika.Connection(url), Transports()
        connection.kwargs["transport_factory"] = transports
        try:
            await connection.connect(timeout=CONNECT_LIMIT_S)
        except BaseException as error:
            with anyio.CancelScope(shield=True):
                await connection.close()  # otherwise the garbage collector closes it, in a task that nothing owns
            if isinstance(error, ERRORS):
                raise refusal(self.place, error) from error
            raise
        self._sinks = transports.sinks
        return connection

    async def run(self) -> None:
        """Stay connected until cancelled, then close the connection."""
        try:
            await keep_doing(f"the connection to {self.place}", self._keep_up)
        finally:
            await self.close()

    async def _keep_up(self) -> None:
        if self._connection is not None:
            await self._until_lost(self._connection)
        await self._reconnect()

    async def _until_lost(self, connection: aio_pika.abc.AbstractConnection) -> None:
        assert connection.transport is not None
        connection.transport.connection.closing.add_done_callback(lambda _: self._note_end(connection))
        looks = 0
        while not self._down.is_set():
            with anyio.move_on_after(_LOOK_EVERY_S):
                await self._down.wait()
            looks += 1
            if await self.look_blocked() or looks % _LOOKS_AN_ASK or self._down.is_set():
                continue
            if not await self._is_alive():
                break
        log.warning("lost the connection to %s", self.place)
        await self.close()

    def _note_end(self, connection: aio_pika.abc.AbstractConnection) -> None:
        """Make `wait_up` wait from now on, until `_reconnect` sets the new event."""
        if self._connection is connection:
            self._down.set()
            self._up = anyio.Event()

    async def _is_alive(self) -> bool:
        try:
            async with self.channel() as channel:
                await channel.exchange_declare("amq.direct", passive=True, timeout=ANSWER_LIMIT_S)
        except StoreError:
            return self._down.is_set() or await self.look_blocked()
        return True

    async def _reconnect(self) -> None:
        delay_s = _FIRST_DELAY_S
        while True:
            try:
                connection = await self._connected()
            except StoreError as error:
                await anyio.sleep(delay_s)
                if delay_s < _LONGEST_DELAY_S <= delay_s * 2:
                    log.warning("%s; trying again", error)
                delay_s = min(_LONGEST_DELAY_S, delay_s * 2)
            else:
                self._connection, self._down = connection, anyio.Event()
                self._up.set()
                log.info("connected to %s again", self.place)
                return

    async def close(self) -> None:
        """Close the connection, if any."""
        connection, self._connection, self.is_blocked = self._connection, None, False
        if self._up.is_set():  # otherwise a task may already be waiting for this event
            self._up = anyio.Event()
        for user in self._users:
            user.cancel()
        if connection is not None:
            with anyio.move_on_after(_CLOSE_LIMIT_S, shield=True), contextlib.suppress(Exception):
                await connection.close()

    async def wait_up(self) -> None:
        """Wait until it is connected, without a limit."""
        while not self.is_up:
            await self._up.wait()

    async def wait_up_soon(self) -> None:
        """Wait until it is connected. Raises StoreError after `PATIENCE_S`."""
        with anyio.move_on_after(PATIENCE_S):
            await self.wait_up()
        if not self.is_up:
            raise StoreError(f"there is no connection to {self.place}")

    @contextlib.asynccontextmanager
    async def turn(self, lock: anyio.Lock) -> AsyncIterator[None]:
        """Hold the lock while connected. Raises StoreError like `wait_up_soon`.

        All callers wait for the connection at the same time, even if it is lost while they wait for the lock. With the
        lock held, they would wait one after the other.
        """
        while True:
            await self.wait_up_soon()
            async with lock:
                if self.is_up:
                    yield
                    return

    def has(self, channel: Channel) -> bool:
        """Return whether the channel is open and on this connection: channels of a lost one may still seem open."""
        transport = self._connection.transport if self._connection else None
        return transport is not None and channel.connection is transport.connection and not channel.is_closed

    @contextlib.contextmanager
    def while_up(self) -> Iterator[None]:
        """Cancel the block if the connection is lost, and raise StoreError.

        In aiormq, some waits for an answer do not end with the connection.
        """
        with anyio.CancelScope() as scope:
            self._users.add(scope)
            try:
                yield
            finally:
                self._users.discard(scope)
        if scope.cancelled_caught:
            raise StoreError(f"the connection to {self.place} was lost")

    @contextlib.asynccontextmanager
    async def channel(self, *, confirms: bool = False) -> AsyncIterator[Channel]:
        """Open a channel for the block. When it closes, the broker requeues unsettled messages taken through it."""
        channel = await self.open_channel(confirms=confirms)
        with self.while_up():
            try:
                yield channel
            finally:
                await self._close_channel(channel)

    @contextlib.contextmanager
    def deliveries(self, channel: Channel, sink: Sink) -> Iterator[None]:
        """Have `sink` get the channel's deliveries inside the block."""
        sinks, number = self._sinks, channel.number
        sinks[number] = sink
        try:
            yield
        finally:
            if sinks.get(number) == sink:  # otherwise a later channel already has the number
                del sinks[number]

    async def open_channel(self, *, confirms: bool = False) -> Channel:
        """Open a channel. Raises UnopenedError if that fails, or there is no connection within `PATIENCE_S`."""
        try:
            with store_errors(f"{self.place}: cannot open a channel"):
                await self.wait_up_soon()
                assert self._connection is not None
                assert self._connection.transport is not None
                with anyio.fail_after(ANSWER_LIMIT_S), self.while_up():
                    return await self._connection.transport.connection.channel(publisher_confirms=confirms)
        except StoreError as error:
            raise UnopenedError(str(error)) from error.__cause__

    async def _close_channel(self, channel: Channel) -> None:
        if self.has(channel):
            with anyio.move_on_after(_CLOSE_LIMIT_S, shield=True), contextlib.suppress(Exception):
                await channel.close()


async def _is_ready(connection: aio_pika.abc.AbstractConnection) -> bool:
    """Return whether the broker reads from us. The only sign in aiormq is that `ready()` returns at once."""
    assert connection.transport is not None
    with anyio.move_on_after(0):
        await connection.transport.connection.ready()
        return True
    return False
