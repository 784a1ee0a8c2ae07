"""The settings of one queue that a function consumes: as configured, and with every default filled in."""

from typing import Annotated, ClassVar, Literal

from msgspec import Meta, Struct
from msgspec.structs import asdict

from bus.limits import MAX_NAME_BYTES
from bus.message import dead_queue, inbox
from bus.retry import RetryPolicy

MAX_UNSETTLED = 65_535
"""The most messages of a queue that are unsettled at a time: AMQP's prefetch count has 16 bits."""
MAX_BATCH_BYTES = 6 * 1024 * 1024
_RESERVED = "forklight."


class QueueSettings(Struct, frozen=True, kw_only=True):
    """One `[[functions.x.queue]]` table."""

    example: ClassVar[str] = 'queue = "orders"'
    elsewhere: ClassVar[dict[str, str]] = {
        key: f"it belongs to the queue, not to the function: write {key} below [queues.NAME]"
        for key in ("type", "arguments")
    }
    queue: str = ""  # with a default, so that a missing key is reported once
    """The name. Names that begin with `forklight.` are reserved. Default: required."""
    broker: str = ""
    """The `[brokers.NAME]` that has the queue. Default: the bus's own store."""
    retry: Annotated[RetryPolicy, Meta(extra={"flat": True})] = RetryPolicy()
    batch: Annotated[int, Meta(ge=1)] | None = None
    """Up to this many messages become one event, whose `data` is a list of events. Default: no batches."""
    max_batch_bytes: Annotated[int, Meta(ge=1)] = MAX_BATCH_BYTES
    """The most that the bodies of a batch have together; a larger message is a batch by itself."""
    batch_window_s: Annotated[float, Meta(ge=0)] = 0.0
    """How long a batch waits for more messages after its first one."""
    decode: Literal["json", "text", "bytes"] | None = None
    """How the body is decoded. Default: according to its content type."""
    declare: bool = True
    """Whether to create the queue if it does not exist."""
    dead_letter: str | None = None
    """The queue for its dead letters. Default: `forklight.dead.NAME`."""

    def __post_init__(self) -> None:
        if not self.queue:
            raise ValueError('queue is missing: write queue = "orders"')
        for name in (self.queue, self.dead_letter or ""):
            if name.startswith(_RESERVED) or len(name.encode()) > MAX_NAME_BYTES:
                hint = f"names have up to {MAX_NAME_BYTES} bytes, and {_RESERVED} is reserved"
                raise ValueError(f"the queue name {name!r} is not allowed: {hint}")
        if self.queue == self.dead_letter:
            raise ValueError(f"dead_letter is the queue itself, {self.queue!r}: its dead letters would come back")
        if self.batch is not None and self.batch > MAX_UNSETTLED:
            raise ValueError(
                f"batch = {self.batch}: the limit is {MAX_UNSETTLED}, the most that RabbitMQ hands out at a time"
            )
        for key, is_set in (
            ("batch_window", self.batch_window_s > 0),
            ("max_batch", self.max_batch_bytes != MAX_BATCH_BYTES),
        ):
            if is_set and self.batch is None:
                raise ValueError(f"{key} needs batch: add batch = 10, for example")


class QueueTrigger(QueueSettings, frozen=True, kw_only=True):
    """Turns messages of `queue` into events of `function`."""

    function: str
    dead_letter: str
    slots: int
    """How many events the function's pool can run at once, at most `MAX_UNSETTLED`."""
    max_hops: int = 16
    """A message at the end of a chain of this many handlers becomes a dead letter: it is a loop."""

    def __post_init__(self) -> None:
        """Skip the checks: settings have passed them, and an inbox has a reserved name."""

    @property
    def prefetch(self) -> int:
        """The most messages that may be unsettled: as many as the pool can run, at most `MAX_UNSETTLED`."""
        return min(self.slots * (self.batch or 1), MAX_UNSETTLED)


def trigger_of(settings: QueueSettings, function: str, *, slots: int, max_hops: int) -> QueueTrigger:
    """Return the function's trigger for this queue."""
    written = asdict(settings) | {"dead_letter": settings.dead_letter or dead_queue(function)}
    return QueueTrigger(**written, function=function, slots=min(slots, MAX_UNSETTLED), max_hops=max_hops)


def inbox_of(function: str, *, slots: int, max_hops: int) -> QueueTrigger:
    """Return the trigger for the function's inbox."""
    return QueueTrigger(
        function=function,
        queue=inbox(function),
        dead_letter=dead_queue(function),
        slots=min(slots, MAX_UNSETTLED),
        max_hops=max_hops,
    )
