"""The protocol of message stores. There are two: `bus.sqlite`, inside this process, and `bus.rabbitmq`.

Delivery is at least once: a message that `publish` accepted is delivered until it is settled, whatever dies meanwhile.
A delivery is leased to its consumer. When the consumer closes, the process dies or the connection is lost, unsettled
messages are delivered again. Messages of one queue arrive roughly in order; retries and redeliveries break it.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from types import MappingProxyType
from typing import Protocol

from msgspec import Struct

from bus.errors import BusError
from bus.message import Delivery, Message, Outgoing
from bus.retry import Decision

TAKEN_BYTES = 64 * 1024 * 1024
"""The memory for one consumer's messages. A consumer that has reached it takes none until some are settled, so it may
exceed the limit by one message."""

NOTHING: Mapping[str, Outgoing] = MappingProxyType({})


class StoreError(BusError):
    """The store did not confirm an operation; one line says why. Messages may have been stored all the same."""


class UnreachableError(StoreError):
    """The store cannot be reached now; waiting may help."""


class RefusedError(StoreError):
    """The store will never accept it: it is too long or too large, or the queue may not be used.

    Raised by `settle`, it concerns an output of the handler, never the delivery itself.
    """


class Source(Struct, frozen=True, kw_only=True):
    """A queue as one function consumes it."""

    queue: str
    function: str
    dead_letter: str
    """The queue for its dead letters."""
    declare: bool = True
    """Whether a missing queue may be created. An existing one is never changed."""


class Settlement(Struct, frozen=True):
    """A decision about one delivery, and the outputs to store with it. After an error both are uncertain."""

    delivery: Delivery
    decision: Decision
    outputs: tuple[Outgoing, ...] = ()


class QueueStatistics(Struct, frozen=True, kw_only=True):
    """The number of messages by state; None if the store cannot tell."""

    ready: int = 0
    """Waiting for a consumer."""
    running: int = 0
    """Delivered, not yet settled."""
    delayed: int | None = None
    """Not due yet: delayed messages and retries."""
    oldest_age_s: float | None = None
    """The age of the oldest ready message."""


class Stored(Struct, frozen=True, kw_only=True):
    """A message seen in its queue, where it stays. `key` identifies it there."""

    key: str
    message: Message
    """Without the body, unless it comes from `fetch`."""
    size_bytes: int = 0
    """Of the body."""
    stored_at_s: float | None = None


class Consumer(Protocol):
    """The messages of one source: at most `prefetch`, and about `TAKEN_BYTES`, are unsettled at a time."""

    async def next(self) -> Delivery:
        """Wait for the next message, for any time and across reconnects. Cancelling loses nothing."""

    def next_nowait(self) -> Delivery | None:
        """Return the next message if it is already here, else None."""

    def on_message(self, callback: Callable[[], None]) -> None:
        """Call `callback` in the event loop when `next_nowait` may return a message again. It must not raise.

        A consumer has one such callback. It serves a caller without a task, in place of `next`.
        """

    async def pause(self) -> None:
        """Take no more messages, and return those that were not handed out, uncounted. Repeating it has no effect.

        On a broker they go to the function's retry queue if their own queue counts returned messages.
        """

    async def resume(self) -> None:
        """Take messages again."""

    @property
    def is_consuming(self) -> bool:
        """Whether messages would arrive if there were any: False while paused or disconnected."""


class Store(Protocol):
    """A place of queues: the embedded one, or a virtual host of a broker. Queues are created when first needed."""

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        """Return once all are stored durably (embedded: in one transaction). Raises StoreError, RefusedError."""

    def consume(self, source: Source, prefetch: int) -> AbstractAsyncContextManager[Consumer]:
        """Consume inside the block; leaving it returns unsettled messages. Raises StoreError on entering."""

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        """Carry out the decisions (embedded: in one transaction with the outputs; broker: after these are confirmed).

        A lost lease is not an error: the message will be delivered again. Raises StoreError if outputs, retries or dead
        letters could not be stored; the deliveries concerned are then still leased. Raises RefusedError if an output
        can never be stored; then no delivery is settled.
        """

    def settle_soon(self, settlement: Settlement, done: Callable[[StoreError | None], None]) -> bool:
        """Hand a settlement over without waiting. Return False if it has to be awaited (`settle`) after all.

        `done` gets None once it is carried out, at once or later, or the error if it could not be. It must not raise.
        Raises RefusedError like `settle`.
        """

    async def statistics(self, queue: str) -> QueueStatistics:
        """Count one queue's messages; zeros if it does not exist. Raises StoreError."""

    async def browse(self, queue: str, limit: int, skip: int = 0) -> list[Stored]:
        """Return up to `limit` of the oldest ready messages after the first `skip`, without bodies. They stay there.

        Raises StoreError.
        """

    async def fetch(self, queue: str, key: str) -> Stored | None:
        """Return a ready message with its body, or None if the key is unknown. It stays there. Raises StoreError."""

    async def take_out(self, queue: str, keys: Collection[str] | None, into: Mapping[str, Outgoing] = NOTHING) -> int:
        """Remove the messages with these keys (None: all) and return their number. Raises StoreError.

        A message whose key is in `into` is moved there, with the head given there and its own body: it is stored before
        it is removed (embedded: in one transaction). Used to replay and purge dead letters.
        """

    @property
    def is_connected(self) -> bool:
        """Whether the store could accept a message now."""


class Facts(Protocol):
    """Small facts that survive a restart of this node, such as when a timer last fired."""

    async def remember(self, facts: dict[str, str]) -> None:
        """Store all of them in one transaction. Raises StoreError."""

    async def recall(self, prefix: str) -> dict[str, str]:
        """Return the facts whose names begin with `prefix`. Raises StoreError."""
