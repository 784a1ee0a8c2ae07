"""Queues and exchanges: what exists is used as it is, what is missing is made if it may be, and is then ours.

Each question has a channel of its own, for the broker answers "there is none" by closing it. What was made is
remembered for as long as the connection: another client could delete it, but nobody else would make it again.
"""

import time
from collections.abc import Callable, Iterable

import anyio
from aio_pika.exceptions import ChannelNotFoundEntity, ChannelPreconditionFailed
from aiormq.exceptions import ChannelAccessRefused, ChannelLockedResource
from msgspec import Struct
from pamqp.commands import Queue as QueueCommand
from pamqp.common import Arguments

from bus.rabbitmq.delays import TO, Binding, Exchange, Piece, Queue
from bus.rabbitmq.link import ANSWER_LIMIT_S, Channel, Link, store_errors
from bus.rabbitmq.names import Names
from bus.store import RefusedError, StoreError

_REMEMBERED = 10_000
"""Names of queues that are remembered."""
_ASKED_AT_ONCE = 2
"""Questions, each of which has a channel: a connection may have few."""
_BELIEVED_S = 10.0
"""How long what was made is taken to be there still."""


class Kind(Struct, frozen=True):
    """What a queue of others is."""

    may_vanish: bool = False
    """Whether it may be deleted with its last consumer."""
    is_stream: bool = False
    counts: bool = True
    """Whether it may count how often a message is given back, as quorum queues do."""


def _kind(refusal: str, *, durable: bool) -> Kind:
    """Of a queue that was declared as a lasting one, and if it is durable as a quorum queue."""
    may_vanish = "arg 'auto_delete'" in refusal
    is_classic = may_vanish or not durable
    if "arg 'x-queue-type'" in refusal:
        is_classic = refusal.endswith(("current is none", "current is 'classic'"))
    return Kind(may_vanish=may_vanish, is_stream="is 'stream'" in refusal, counts=not is_classic)


class Topology:
    """What the broker has, as far as we made it or asked."""

    def __init__(self, link: Link, names: Names) -> None:
        self.names = names
        self.on_seen: set[Callable[[str], None]] = set()
        """Called, in the event loop, with each queue that was found or made because somebody needs it."""
        self._link = link
        self._made_at: dict[Piece, float] = {}
        self._lock = anyio.Lock()
        self._making = anyio.Lock()
        self._seen_at: dict[str, float] = {}
        self._made: set[str] = set()
        """Queues that this process has made."""
        self._asking = anyio.Semaphore(_ASKED_AT_ONCE)

    async def look_up(self, queue: str) -> QueueCommand.DeclareOk | None:
        """The broker's counts of ready messages and of consumers; None if there is no such queue. Raises StoreError."""
        with store_errors(f"{self._link.place} tells nothing of the queue {queue!r}"):
            async with self._asking, self._link.channel() as channel:
                try:
                    return await channel.queue_declare(queue, passive=True, timeout=ANSWER_LIMIT_S)
                except ChannelNotFoundEntity:
                    return None

    def has_seen(self, queue: str) -> bool:
        """Whether it was there once: it is believed to be there still."""
        return queue in self._seen_at

    def note_seen(self, queue: str) -> None:
        """It has just been there. Consumers hear of it too: whoever made it may have failed before it could say so."""
        if len(self._seen_at) >= _REMEMBERED:
            self._seen_at.clear()
        self._seen_at[queue] = time.monotonic()
        for told in tuple(self.on_seen):
            told(queue)

    async def ensure_since(self, queue: str, since_s: float) -> None:
        """As `ensure_queue`, unless it was there after `since_s` (monotonic): many may have missed it together.

        One that only the client that made it may use is there, and nobody else can say more of it.
        """
        async with self._link.turn(self._making):
            if self._seen_at.get(queue, 0.0) > since_s:
                return
            try:
                await self._ensure(queue, may_make=True)
            except RefusedError as error:
                if not isinstance(error.__cause__, ChannelLockedResource):
                    raise

    async def ensure_queue(self, queue: str, *, may_make: bool = True) -> bool:
        """The queue is there afterwards, and whether this process made it, now or earlier.

        Raises StoreError if it is missing and may not be made, or cannot be.
        """
        async with self._link.turn(self._making):
            await self._ensure(queue, may_make=may_make)
            return queue in self._made

    async def _ensure(self, queue: str, *, may_make: bool) -> None:
        if await self.look_up(queue) is None:
            if not may_make:
                raise StoreError(f"{self._link.place} has no queue {queue!r}, and declare = false forbids to make it")
            await self._make_queue(queue)
        self.note_seen(queue)

    async def _make_queue(self, queue: str) -> None:
        with store_errors(f"{self._link.place} does not make the queue {queue!r}"):
            async with self._link.channel() as channel:
                try:
                    await self._make(channel, Queue(queue))
                except ChannelPreconditionFailed:  # made by another client since we looked: it is consumed as it is
                    if await self.look_up(queue) is None:
                        raise
        self._made.add(queue)

    async def kind(self, queue: str) -> Kind:
        """What can be found out of a queue that exists: RabbitMQ tells it only to who declares it otherwise.

        The user may lack the right to declare it. Raises StoreError.
        """
        durable = True
        while True:
            arguments: Arguments = {"x-queue-type": "quorum"} if durable else None
            with store_errors(f"{self._link.place} does not tell what kind of queue {queue!r} is"):
                try:
                    async with self._asking, self._link.channel() as channel:
                        await channel.queue_declare(queue, durable=durable, arguments=arguments, timeout=ANSWER_LIMIT_S)
                    return Kind(counts=durable)
                except ChannelAccessRefused:
                    return Kind(may_vanish=True)
                except ChannelPreconditionFailed as error:
                    if durable and "arg 'durable'" in str(error):
                        durable = False
                        continue
                    return _kind(str(error), durable=durable)

    async def ensure_ladder(self, pieces: Iterable[Piece]) -> None:
        """All pieces of a ladder are there afterwards. Raises StoreError."""
        pieces = tuple(pieces)
        if not self._missing(pieces):
            return
        async with self._link.turn(self._lock):
            missing = self._missing(pieces)
            if len(self._made_at) >= _REMEMBERED:
                self._made_at.clear()
            with store_errors(f"{self._link.place} does not make the queues that hold messages back"):
                async with self._link.channel() as channel:
                    for piece in missing:
                        if isinstance(piece, Queue) and piece.level is None:
                            await self.ensure_queue(piece.name)
                        else:
                            await self._make(channel, piece)
                        self._made_at[piece] = time.monotonic()

    def _missing(self, pieces: Iterable[Piece]) -> list[Piece]:
        oldest = time.monotonic() - _BELIEVED_S
        return [piece for piece in pieces if self._made_at.get(piece, 0.0) < oldest]

    def forget(self) -> None:
        """Something failed that what was made should have made possible: make it again."""
        self._made_at.clear()
        self._seen_at.clear()

    async def _make(self, channel: Channel, piece: Piece) -> None:
        if isinstance(piece, Exchange):
            options: Arguments = {"alternate-exchange": piece.alternate} if piece.alternate else None
            await channel.exchange_declare(
                piece.name, exchange_type=piece.kind, durable=True, arguments=options, timeout=ANSWER_LIMIT_S
            )
        elif isinstance(piece, Queue):
            arguments = piece.arguments()
            if self._link.major_version >= 4:  # whose default of 20 would count what we give back unrun
                arguments["x-delivery-limit"] = -1
            await channel.queue_declare(piece.name, durable=True, arguments=arguments, timeout=ANSWER_LIMIT_S)
        else:
            await self._bind(channel, piece)

    async def _bind(self, channel: Channel, piece: Binding) -> None:
        arguments: Arguments = {"x-match": "all", TO: piece.to} if piece.to else None
        bind = channel.queue_bind if isinstance(piece.target, Queue) else channel.exchange_bind
        await bind(piece.target.name, piece.source, piece.key, arguments=arguments, timeout=ANSWER_LIMIT_S)
