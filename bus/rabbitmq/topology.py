"""Queues and exchanges: existing ones are used as they are; missing ones are made, if allowed, and are then ours.

Each lookup has its own channel, because the broker answers "not found" by closing the channel. Things that were made
are remembered, and made again after an error or after a while, because another client could delete them.
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping

import anyio
from aio_pika.exceptions import ChannelNotFoundEntity, ChannelPreconditionFailed
from aiormq.exceptions import ChannelAccessRefused, ChannelLockedResource
from msgspec import Struct
from pamqp.commands import Queue as QueueCommand
from pamqp.common import Arguments

from bus.declaration import PLAIN, Declaration
from bus.rabbitmq.delays import TO, Binding, Exchange, Piece, Queue
from bus.rabbitmq.link import ANSWER_LIMIT_S, Channel, Link, store_errors
from bus.rabbitmq.names import Names
from bus.store import RefusedError, StoreError

log = logging.getLogger(__name__)

_REMEMBERED = 10_000
"""The most names of queues that are remembered."""
_ASKED_AT_ONCE = 2
"""The most lookups at a time: each needs a channel, and a connection may have few."""
_BELIEVED_S = 10.0
"""How long a piece of the ladder is assumed to exist after it was made."""


class Kind(Struct, frozen=True):
    """The kind of a queue that is not ours."""

    may_vanish: bool = False
    """Whether it may be deleted with its last consumer."""
    is_stream: bool = False
    counts: bool = True
    """Whether it may count how often a message is given back, as quorum queues do."""


def _kind(refusal: str, *, durable: bool) -> Kind:
    """Read the kind from the refusal of a declaration: without auto-delete and, if `durable`, as a quorum queue."""
    may_vanish = "arg 'auto_delete'" in refusal
    is_classic = may_vanish or not durable
    if "arg 'x-queue-type'" in refusal:
        is_classic = refusal.endswith(("current is none", "current is 'classic'"))
    return Kind(may_vanish=may_vanish, is_stream="is 'stream'" in refusal, counts=not is_classic)


class Topology:
    """The broker's queues and exchanges, as far as this process has made or looked them up.

    `declarations`: how to make the queues that have these names on the broker.
    """

    def __init__(self, link: Link, names: Names, declarations: Mapping[str, Declaration] | None = None) -> None:
        self.names = names
        self._declarations = declarations or {}
        self.on_seen: set[Callable[[str], None]] = set()
        """Callbacks, called in the event loop with the name of each queue that was found or made on demand."""
        self._link = link
        self._made_at: dict[Piece, float] = {}
        self._lock = anyio.Lock()
        self._making = anyio.Lock()
        self._seen_at: dict[str, float] = {}
        self._made: set[str] = set()
        """Queues that this process has made."""
        self._asking = anyio.Semaphore(_ASKED_AT_ONCE)

    async def look_up(self, queue: str) -> QueueCommand.DeclareOk | None:
        """Return the counts of ready messages and consumers; None if the queue does not exist. Raises StoreError."""
        with store_errors(f"{self._link.place}: cannot look up the queue {queue!r}"):
            async with self._asking, self._link.channel() as channel:
                try:
                    return await channel.queue_declare(queue, passive=True, timeout=ANSWER_LIMIT_S)
                except ChannelNotFoundEntity:
                    return None

    def declaration(self, queue: str) -> Declaration:
        """Return how the queue is to be made."""
        return self._declarations.get(queue, PLAIN)

    async def report_differences(self) -> None:
        """Log each queue that exists otherwise than its declaration says. Raises StoreError."""
        for queue, declaration in self._declarations.items():
            if await self.look_up(queue) is not None and (refusal := await self._refusal(queue, declaration)):
                log.warning(
                    "%s: the queue %r exists, and is not what [queues] says of it; it is used as it is. To change a "
                    "queue, delete it once it is empty. The broker says: %s",
                    *(self._link.place, queue, refusal),
                )

    async def _refusal(self, queue: str, declaration: Declaration) -> str:
        """Return why the broker refuses to declare an existing queue like this; "" if it does not, or will not say."""
        refusal = ""
        for version in dict.fromkeys((self._link.major_version, 0)):  # other clients do not set our delivery limit
            with store_errors(f"{self._link.place}: cannot compare the queue {queue!r}"):
                try:
                    async with self._asking, self._link.channel() as channel:
                        arguments = declaration.whole(version)
                        await channel.queue_declare(queue, durable=True, arguments=arguments, timeout=ANSWER_LIMIT_S)
                    return ""
                except (ChannelAccessRefused, ChannelLockedResource):
                    return ""
                except ChannelPreconditionFailed as error:
                    refusal = refusal or " ".join(str(error).split())
        return refusal

    def has_seen(self, queue: str) -> bool:
        """Return whether the queue existed when last seen."""
        return queue in self._seen_at

    def note_seen(self, queue: str) -> None:
        """Note that the queue exists now, and call `on_seen`: its maker may have failed before it could do so."""
        if len(self._seen_at) >= _REMEMBERED:
            self._seen_at.clear()
        self._seen_at[queue] = time.monotonic()
        for notify in tuple(self.on_seen):
            notify(queue)

    async def ensure_since(self, queue: str, since_s: float) -> None:
        """Like `ensure_queue`, unless the queue was seen after `since_s` (monotonic): many may miss it at once.

        An exclusive queue of another client counts as existing; only that client can look it up.
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
        """Make the queue if it is missing. Return whether this process made it, now or earlier.

        Raises StoreError if it is missing and may not or cannot be made.
        """
        async with self._link.turn(self._making):
            await self._ensure(queue, may_make=may_make)
            return queue in self._made

    async def _ensure(self, queue: str, *, may_make: bool) -> None:
        if await self.look_up(queue) is None:
            if not (may_make and self.declaration(queue).declare):
                raise StoreError(f"{self._link.place} has no queue {queue!r}, and declare = false forbids creating it")
            await self._make_queue(queue)
        self.note_seen(queue)

    async def _make_queue(self, queue: str) -> None:
        with store_errors(f"{self._link.place}: cannot create the queue {queue!r}"):
            async with self._link.channel() as channel:
                try:
                    await self._make(channel, Queue(queue))
                except ChannelPreconditionFailed:  # another client made it meanwhile: it is used as it is
                    if await self.look_up(queue) is None:
                        raise
        self._made.add(queue)

    async def kind(self, queue: str) -> Kind:
        """Find out the kind of an existing queue: RabbitMQ only reveals it by refusing a different declaration.

        If the user may not declare the queue, it is assumed to vanish and to count. Raises StoreError.
        """
        durable = True
        while True:
            arguments: Arguments = {"x-queue-type": "quorum"} if durable else None
            with store_errors(f"{self._link.place}: cannot find out the kind of the queue {queue!r}"):
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
        """Make the missing pieces of a ladder. Raises StoreError."""
        pieces = tuple(pieces)
        if not self._missing(pieces):
            return
        async with self._link.turn(self._lock):
            missing = self._missing(pieces)
            if len(self._made_at) >= _REMEMBERED:
                self._made_at.clear()
            with store_errors(f"{self._link.place}: cannot create the queues that delay messages"):
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
        """Forget everything seen or made, after an operation failed that relied on it."""
        self._made_at.clear()
        self._seen_at.clear()

    async def _make(self, channel: Channel, piece: Piece) -> None:
        if isinstance(piece, Exchange):
            options: Arguments = {"alternate-exchange": piece.alternate} if piece.alternate else None
            await channel.exchange_declare(
                piece.name, exchange_type=piece.kind, durable=True, arguments=options, timeout=ANSWER_LIMIT_S
            )
        elif isinstance(piece, Queue):
            arguments = piece.arguments(self.declaration(piece.name), self._link.major_version)
            await channel.queue_declare(piece.name, durable=True, arguments=arguments, timeout=ANSWER_LIMIT_S)
        else:
            await self._bind(channel, piece)

    async def _bind(self, channel: Channel, piece: Binding) -> None:
        arguments: Arguments = {"x-match": "all", TO: piece.to} if piece.to else None
        bind = channel.queue_bind if isinstance(piece.target, Queue) else channel.exchange_bind
        await bind(piece.target.name, piece.source, piece.key, arguments=arguments, timeout=ANSWER_LIMIT_S)
