"""What a store of messages promises. Two keep it: `bus.sqlite`, inside this process, and `bus.rabbitmq`.

At least once: a message that `publish` accepted is delivered until it is settled, whatever dies meanwhile. A delivery
is leased to its consumer; when the consumer closes, the process dies or the connection is lost, what was not settled is
delivered again. Within one queue the order is roughly that of arrival; retries and redeliveries break it.
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from types import MappingProxyType
from typing import Protocol

from msgspec import Struct

from bus.message import Delivery, Message, Outgoing
from bus.retry import Decision

TAKEN_BYTES = 64 * 1024 * 1024
"""What one consumer has of messages at most, in memory: once it has as much it takes none until some are settled. So it
may exceed it by one message, and has one that is larger by itself."""

NOTHING: Mapping[str, Outgoing] = MappingProxyType({})


class StoreError(Exception):
    """The store did not accept what it was given; one line says why. Whether it was stored all the same is unknown."""


class UnreachableError(StoreError):
    """Nobody answers where a store should be, which may change by itself."""


class RefusedError(StoreError):
    """It never will be accepted, however often it is tried: too long, too large, for a queue that may not be used.

    Of `settle` it speaks of what a handler sent, never of the delivery itself.
    """


class Source(Struct, frozen=True, kw_only=True):
    """A queue as one function consumes it."""

    queue: str
    function: str
    dead_letter: str
    """The queue that its dead letters go to."""
    declare: bool = True
    """Whether the queue may be made if it does not exist. One that exists is consumed as it is."""


class Settlement(Struct, frozen=True):
    """What becomes of one delivery, and what is stored with it: both or, with an error, neither for certain."""

    delivery: Delivery
    decision: Decision
    outputs: tuple[Outgoing, ...] = ()


class QueueStatistics(Struct, frozen=True, kw_only=True):
    """Messages by what they wait for. None is what this store cannot tell."""

    ready: int = 0
    """to be delivered"""
    running: int = 0
    """delivered and not settled"""
    delayed: int | None = None
    """to be delivered later: delayed ones and retries"""
    oldest_age_s: float | None = None
    """how long the oldest ready one has waited"""


class Stored(Struct, frozen=True, kw_only=True):
    """A message looked at where it lies. `key` names it in its queue for as long as it lies there."""

    key: str
    message: Message
    """Without its body, unless it was fetched."""
    size_bytes: int = 0
    """Of the body."""
    stored_at_s: float | None = None


class Consumer(Protocol):
    """The messages of one source, at most `prefetch` of them handed out and unsettled, and about `TAKEN_BYTES`."""

    async def next(self) -> Delivery:
        """Wait for the next one, however long, through losses of the connection. Safe to cancel: nothing is lost."""

    def next_nowait(self) -> Delivery | None:
        """The next one if it is here already."""

    async def pause(self) -> None:
        """Take nothing more; what was taken and not handed out goes back, uncounted. Nothing if it pauses already.

        On a broker it goes back into the function's queue of retries, if its own queue counts what comes back.
        """

    async def resume(self) -> None:
        """Take messages again."""

    @property
    def is_consuming(self) -> bool:
        """Whether messages would come if there were any: not while it pauses, not while the connection is lost."""


class Store(Protocol):
    """One place of queues: the embedded one, or one vhost of a broker. Queues are made when they are first needed."""

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        """Returns once all are stored for good (embedded: one transaction). Raises StoreError, RefusedError."""

    def consume(self, source: Source, prefetch: int) -> AbstractAsyncContextManager[Consumer]:
        """Consume inside the block; leaving it gives back what is not settled. Raises StoreError at the start."""

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        """Carry out the decisions (embedded: one transaction, outputs included; a broker: outputs are confirmed first).

        A lease that is lost is no error: the message will be delivered again. Raises StoreError if outputs, retries or
        dead letters could not be stored; the deliveries concerned are then still leased. Raises RefusedError if an
        output never can be; no delivery is settled then.
        """

    async def statistics(self, queue: str) -> QueueStatistics:
        """Of one queue; zeros if there is none. Raises StoreError."""

    async def browse(self, queue: str, limit: int, skip: int = 0) -> list[Stored]:
        """The oldest `limit` ready messages behind the first `skip`, without their bodies, left where they are.

        Raises StoreError.
        """

    async def fetch(self, queue: str, key: str) -> Stored | None:
        """One ready message with its body, left where it is; None if there is none with this key. Raises StoreError."""

    async def take_out(self, queue: str, keys: Collection[str] | None, into: Mapping[str, Outgoing] = NOTHING) -> int:
        """Remove the messages with these keys (None: all). Those that are keys of `into` go where that says, with the
        head that it has and their own body: stored there before they are removed here (embedded: at once).

        Returns how many there were. For dead letters: replay and purge. Raises StoreError.
        """

    @property
    def is_connected(self) -> bool:
        """Whether it could store a message now."""


class Facts(Protocol):
    """A few small facts that survive a restart of this node, such as when a timer last fired."""

    async def remember(self, facts: dict[str, str]) -> None:
        """Store all, in one transaction. Raises StoreError."""

    async def recall(self, prefix: str) -> dict[str, str]:
        """All whose name begins so."""
