"""What can be set about one queue that a function consumes: as it is configured, and with every default filled in."""

from typing import Annotated, Literal

from msgspec import Meta, Struct
from msgspec.structs import asdict

from bus.limits import MAX_NAME_BYTES
from bus.message import dead_queue, inbox
from bus.retry import RetryPolicy

MAX_BATCH = 65_535
MAX_BATCH_BYTES = 6 * 1024 * 1024
_RESERVED = "forklight."


class QueueSettings(Struct, frozen=True, kw_only=True):
    """One `[[functions.x.queue]]` table."""

    queue: str = ""  # the default lets its absence be told once
    """The name; those that begin with `forklight.` are ours. Default: required."""
    broker: str = ""
    """The `[brokers.NAME]` it is on. Default: the bus's own store."""
    retry: Annotated[RetryPolicy, Meta(extra={"flat": True})] = RetryPolicy()
    batch: Annotated[int, Meta(ge=1)] | None = None
    """At most so many messages are one event, whose `data` is a list of events. Default: no batches."""
    max_batch_bytes: Annotated[int, Meta(ge=1)] = MAX_BATCH_BYTES
    """What the bodies of a batch have together at most; a larger message is a batch by itself."""
    batch_window_s: Annotated[float, Meta(ge=0)] = 0.0
    """How long a batch waits to fill up after its first message."""
    decode: Literal["json", "text", "bytes"] | None = None
    """What the body is made into. Default: as its content type says."""
    declare: bool = True
    """Whether the queue may be made if it does not exist."""
    dead_letter: str | None = None
    """The queue that its dead letters go to. Default: `forklight.dead.NAME`."""

    def __post_init__(self) -> None:
        if not self.queue:
            raise ValueError('queue is missing: write queue = "orders"')
        for name in (self.queue, self.dead_letter or ""):
            if name.startswith(_RESERVED) or len(name.encode()) > MAX_NAME_BYTES:
                hint = f"names have up to {MAX_NAME_BYTES} bytes, and {_RESERVED} is ours"
                raise ValueError(f"the queue {name!r} cannot be: {hint}")
        if self.queue == self.dead_letter:
            raise ValueError(f"dead_letter is the queue itself, {self.queue!r}: its dead letters would come back")
        if self.batch is not None and self.batch > MAX_BATCH:
            raise ValueError(f"batch = {self.batch}: {MAX_BATCH} is the most, as many as RabbitMQ hands out at a time")
        for key, is_set in (
            ("batch_window", self.batch_window_s > 0),
            ("max_batch", self.max_batch_bytes != MAX_BATCH_BYTES),
        ):
            if is_set and self.batch is None:
                raise ValueError(f"{key} needs batch: write batch = 10, say, beside it")


class QueueTrigger(QueueSettings, frozen=True, kw_only=True):
    """Messages of `queue` become events of `function`."""

    function: str
    dead_letter: str
    slots: int
    """How many events the function's pool can run at once."""
    max_hops: int = 16
    """A message that this many handlers in a row have sent is a dead letter: a loop."""

    def __post_init__(self) -> None:
        """Everything was checked as settings, and an inbox has a name that settings cannot have."""

    @property
    def prefetch(self) -> int:
        """How many messages are handed out at most: what the pool can run."""
        return self.slots * (self.batch or 1)


def trigger_of(settings: QueueSettings, function: str, *, slots: int, max_hops: int) -> QueueTrigger:
    """The function's trigger for this queue."""
    written = asdict(settings) | {"dead_letter": settings.dead_letter or dead_queue(function)}
    return QueueTrigger(**written, function=function, slots=slots, max_hops=max_hops)


def inbox_of(function: str, *, slots: int, max_hops: int) -> QueueTrigger:
    """The trigger for the function's inbox."""
    return QueueTrigger(
        function=function, queue=inbox(function), dead_letter=dead_queue(function), slots=slots, max_hops=max_hops
    )
