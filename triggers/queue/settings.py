"""What can be set about one queue that a function consumes; every default filled in."""

from typing import Literal

from msgspec import Struct

from bus.retry import RetryPolicy

MAX_BATCH_BYTES = 6 * 1024 * 1024


class QueueTrigger(Struct, frozen=True, kw_only=True):
    """Messages of `queue` become events of `function`."""

    function: str
    queue: str
    broker: str = ""
    """The name of a `[brokers.NAME]`; empty: the bus's own store."""
    retry: RetryPolicy = RetryPolicy()
    batch: int | None = None
    """At most so many messages are one event, whose `data` is a list of events; None: one message, one event."""
    max_batch_bytes: int = MAX_BATCH_BYTES
    """What the bodies of a batch have together at most; a larger message is a batch by itself."""
    batch_window_s: float = 0.0
    """How long a batch may wait to fill up after its first message."""
    decode: Literal["json", "text", "bytes"] | None = None
    declare: bool = True
    """Whether the queue may be made if it does not exist; one that exists is never changed."""
    dead_letter: str
    """The queue that its dead letters go to."""
    slots: int
    """How many events the function's pool can run at once."""
    max_hops: int = 16
    """A message that as many handlers in a row have sent is a dead letter: a loop."""

    @property
    def prefetch(self) -> int:
        """How many messages are handed out at most: what the pool can run."""
        return self.slots * (self.batch or 1)
