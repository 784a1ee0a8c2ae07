"""Queues and exchanges: what exists is used as it is, what is missing is made if it may be, and is then ours.

Each question has a channel of its own, for the broker answers "there is none" by closing it. What was made is
remembered for as long as the connection: another client could delete it, but nobody else would make it again.
"""

import time
from collections.abc import Callable, Iterable

import anyio
from aio_pika.exceptions import ChannelNotFoundEntity, ChannelPreconditionFailed
from pamqp.commands import Queue as QueueCommand
from pamqp.common import Arguments

from bus.rabbitmq.delays import TO, Binding, Exchange, Piece, Queue
from bus.rabbitmq.link import ANSWER_LIMIT_S, Channel, Link, store_errors
from bus.rabbitmq.names import Names
from bus.store import StoreError

_REMEMBERED = 10_000
"""Names of queues that are remembered."""
_ASKED_AT_ONCE = 2
"""Questions, each of which has a channel: a connection may have few."""
_BELIEVED_S = 10.0
"""How long what was made is taken to be there still."""


class Topology:
    """What the broker has, as far as we made it or asked."""

    def __init__(self, link: Link, names: Names) -> None:
        self.names = names
        self.on_made: set[Callable[[str], None]] = set()
        """Called, in the event loop, with each queue that was made."""
        self._link = link
        self._made_at: dict[Piece, float] = {}
        self._lock = anyio.Lock()
        self._making = anyio.Lock()
        self._known: set[str] = set()
        self._asking = anyio.Semaphore(_ASKED_AT_ONCE)

    async def look_up(self, queue: str) -> QueueCommand.DeclareOk | None:
        """The broker's counts of ready messages and of consumers; None if there is no such queue. Raises StoreError."""
        with store_errors(f"{self._link.place} tells nothing of the queue {queue!r}"):
            async with self._asking, self._link.channel() as channel:
                try:
                    return await channel.queue_declare(queue, passive=True, timeout=ANSWER_LIMIT_S)
                except ChannelNotFoundEntity:
                    return None

    async def ensure_known(self, queue: str) -> None:
        """As `ensure_queue`, but of one that was there once it is believed. Who waits for the same goes on in order."""
        if queue in self._known:
            return
        await self._link.wait_up_soon()  # here all wait at once, behind the lock one after the other
        async with self._making:
            if queue not in self._known:
                await self._ensure(queue, may_make=True)

    async def ensure_queue(self, queue: str, *, may_make: bool = True) -> None:
        """The queue is there afterwards. Raises StoreError if it is missing and may not be made, or cannot be."""
        async with self._making:
            await self._ensure(queue, may_make=may_make)

    async def _ensure(self, queue: str, *, may_make: bool) -> None:
        if await self.look_up(queue) is None:
            if not may_make:
                raise StoreError(f"{self._link.place} has no queue {queue!r}, and declare = false forbids to make it")
            await self._make_queue(queue)
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known.add(queue)

    async def _make_queue(self, queue: str) -> None:
        with store_errors(f"{self._link.place} does not make the queue {queue!r}"):
            async with self._link.channel() as channel:
                try:
                    await self._make(channel, Queue(queue))
                except ChannelPreconditionFailed:  # made by another client since we looked: it is consumed as it is
                    if await self.look_up(queue) is None:
                        raise
        for told in tuple(self.on_made):
            told(queue)

    async def ensure_ladder(self, pieces: Iterable[Piece]) -> None:
        """All pieces of a ladder are there afterwards. Raises StoreError."""
        async with self._lock:
            oldest = time.monotonic() - _BELIEVED_S
            missing = [piece for piece in pieces if self._made_at.get(piece, 0.0) < oldest]
            if not missing:
                return
            with store_errors(f"{self._link.place} does not make the queues that hold messages back"):
                async with self._link.channel() as channel:
                    for piece in missing:
                        if isinstance(piece, Queue) and piece.level is None:
                            await self.ensure_queue(piece.name)
                        else:
                            await self._make(channel, piece)
                        self._made_at[piece] = time.monotonic()

    def forget(self) -> None:
        """Something failed that what was made should have made possible: make it again."""
        self._made_at.clear()
        self._known.clear()

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
