"""One connection to the broker, made again for as long as it is wanted.

A connection may be dead and nobody has said so: the peer's packets are lost, or the machine behind it is gone. Besides
the heartbeats, which take half a minute for that, each link asks the broker something every few seconds and gives the
connection up if no answer comes. While the broker blocks the connection (memory or disk alarm) it answers nothing by
design, and is not asked.
"""

import asyncio
import contextlib
import logging
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
from bus.store import RefusedError, StoreError

log = logging.getLogger(__name__)
# What these tell of every lost connection, with tracebacks, is told here in one line.
for _name in ("aiormq.connection", "aiormq.channel", "aio_pika"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)

CONNECT_LIMIT_S = 10.0
ANSWER_LIMIT_S = 5.0
"""How long the broker may take to answer what is not a publish."""
PATIENCE_S = 2.0
"""How long something that needs a connection waits for one before it fails."""
_LOOK_EVERY_S, _LOOKS_AN_ASK = 1.0, 5
_FIRST_DELAY_S, _LONGEST_DELAY_S = 0.05, 2.0
_CLOSE_LIMIT_S = 3.0
_MOST_CHANNELS = 65535
_FRAME_BYTES = 131072
"""RabbitMQ's default."""

_REFUSALS = (ChannelAccessRefused, ChannelLockedResource, ChannelPreconditionFailed)
"""AMQP's 403, 405 and 406: the same question would get the same answer."""
ERRORS = (*CONNECTION_EXCEPTIONS, TimeoutError)

Channel = aiormq.abc.AbstractChannel


@contextlib.contextmanager
def store_errors(what: str) -> Iterator[None]:
    """Whatever aio-pika raises becomes a StoreError that begins with `what`; a RefusedError if the broker refuses it.

    Some of it is CancelledError, in futures that end with their connection; taken for a cancellation of ours, a
    message would count as stored that is not.
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
        log.exception("%s: an error that nobody expected; please report this", what)
        raise StoreError(f"{what}: {type(error).__name__}: {error}") from error


class UnopenedError(StoreError):
    """There is no channel: nothing was sent that could have arrived."""


class Link:
    """Call `connect` once, then `run` in a task."""

    def __init__(self, address: Address, role: str) -> None:
        self._address = address
        self._role = role
        self._connection: aio_pika.abc.AbstractConnection | None = None
        self._up = anyio.Event()
        self._down = anyio.Event()
        self._users: set[anyio.CancelScope] = set()
        self.is_blocked = False
        """Whether the broker had stopped reading from us, for lack of memory or disk space, when last looked."""

    @property
    def place(self) -> str:
        """What messages call the broker."""
        return self._address.place

    @property
    def is_up(self) -> bool:
        """Whether it is connected; one that has just ended is not, though `run` is yet to notice."""
        transport = self._connection.transport if self._connection else None
        return transport is not None and not transport.connection.is_closed

    async def look_blocked(self) -> bool:
        """Whether `is_blocked` at this moment."""
        connection = self._connection
        self.is_blocked = connection is not None and not await _is_ready(connection)
        return self.is_blocked

    @property
    def major_version(self) -> int:
        """The broker's, of the last connection; 0 if it did not say."""
        transport = self._connection.transport if self._connection else None
        version: Any = transport.connection.server_properties.get("version") if transport else ""
        head = str(version or "").partition(".")[0]
        return int(head) if head.isdecimal() else 0

    @property
    def frame_bytes(self) -> int:
        """The longest frame that the broker takes. Headers of a message travel in one."""
        transport = self._connection.transport if self._connection else None
        return (transport.connection.connection_tune.frame_max if transport else 0) or _FRAME_BYTES

    @property
    def most_channels(self) -> int:
        """How many channels the broker lets a connection have."""
        transport = self._connection.transport if self._connection else None
        return (transport.connection.connection_tune.channel_max if transport else 0) or _MOST_CHANNELS

    async def connect(self) -> None:
        """Raises StoreError, in one line for a person."""
        fields.install()
        self._connection = await self._connected()
        self._down = anyio.Event()
        self._up.set()

    async def _connected(self) -> aio_pika.abc.AbstractConnection:
        url = self._address.url.update_query(name=f"{self._address.url.query['name']} {self._role}")
        connection = aio_pika.Connection(url)
        try:
            await connection.connect(timeout=CONNECT_LIMIT_S)
        except BaseException as error:
            with anyio.CancelScope(shield=True):
                await connection.close()  # or it closes itself when it is collected, in a task that nobody knows
            if isinstance(error, ERRORS):
                raise refusal(self.place, error) from error
            raise
        return connection

    async def run(self) -> None:
        """Keep it connected until cancelled, then close it."""
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
        """Whoever waits for another one waits from here on, and is woken by `_reconnect`."""
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
                    log.warning("%s; trying on", error)
                delay_s = min(_LONGEST_DELAY_S, delay_s * 2)
            else:
                self._connection, self._down = connection, anyio.Event()
                self._up.set()
                log.info("connected to %s again", self.place)
                return

    async def close(self) -> None:
        """Close the connection that it has, if any."""
        connection, self._connection, self.is_blocked = self._connection, None, False
        if self._up.is_set():  # else somebody may wait for it already
            self._up = anyio.Event()
        for user in self._users:
            user.cancel()
        if connection is not None:
            with anyio.move_on_after(_CLOSE_LIMIT_S, shield=True), contextlib.suppress(Exception):
                await connection.close()

    async def wait_up(self) -> None:
        """Until it is connected, however long."""
        while not self.is_up:
            await self._up.wait()

    async def wait_up_soon(self) -> None:
        """For who can do without: raises StoreError if it is not connected within a short while."""
        with anyio.move_on_after(PATIENCE_S):
            await self.wait_up()
        if not self.is_up:
            raise StoreError(f"there is no connection to {self.place}")

    @contextlib.asynccontextmanager
    async def turn(self, lock: anyio.Lock) -> AsyncIterator[None]:
        """Hold the lock while connected. Raises StoreError as `wait_up_soon`.

        All wait for the connection at once, also if it is lost while they wait for the lock: behind the lock they
        would wait one after the other.
        """
        while True:
            await self.wait_up_soon()
            async with lock:
                if self.is_up:
                    yield
                    return

    def has(self, channel: Channel) -> bool:
        """Whether the channel is one of the present connection. Those of a lost one do not always know their end."""
        transport = self._connection.transport if self._connection else None
        return transport is not None and channel.connection is transport.connection and not channel.is_closed

    @contextlib.contextmanager
    def while_up(self) -> Iterator[None]:
        """Cancels the block if the connection is lost meanwhile, and raises StoreError instead.

        Not all that waits for an answer in aiormq ends with the connection.
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
        """A channel of its own for the block; what was taken through it and not settled goes back when it ends."""
        channel = await self.open_channel(confirms=confirms)
        with self.while_up():
            try:
                yield channel
            finally:
                await self._close_channel(channel)

    async def open_channel(self, *, confirms: bool = False) -> Channel:
        """Raises UnopenedError, also if there is no connection within a short while."""
        try:
            with store_errors(f"{self.place} does not open a channel"):
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
    """aiormq shows that a connection is blocked only by how `ready()` waits; if it is not, that returns at once."""
    assert connection.transport is not None
    with anyio.move_on_after(0):
        await connection.transport.connection.ready()
        return True
    return False
