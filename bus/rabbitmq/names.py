"""What our queues and exchanges are called on a broker. Pure.

In the house the inbox of `ship` is `forklight.inbox.ship`, whatever store it lies in. Applications may share a virtual
host, and have functions of the same name; so on a broker the name carries that of the application:
`forklight.shop.inbox.ship`. Queues of others keep their names.
"""

import re
from hashlib import sha256

from msgspec import Struct

from bus.limits import slug
from bus.message import UNDELIVERED

PREFIX = "forklight."
MAX_BYTES = 255
"""The short strings of AMQP 0-9-1 (§4.2.5.3)."""
_OURS = re.compile(r"forklight\.((?:inbox|dead)\.[^.]+|undelivered)", re.DOTALL)
_KINDS = frozenset(("inbox", "dead", "retry", "delay", "due", "undelivered"))
"""An application of such a name would have queues that look like those of version 0.1, which carry no name."""
_HASH_DIGITS = 16
_LINE_ENDS = {ord("\r"): None, ord("\n"): None}


class Names(Struct, frozen=True):
    """Those of one application, whose name is `safe`."""

    application: str

    def queue(self, name: str) -> str:
        """The broker's name of a queue that the house calls `name`.

        RabbitMQ drops ends of lines from the names of queues, but not from the keys by which messages find them.
        """
        name = name.translate(_LINE_ENDS)
        ours = _OURS.fullmatch(name)
        return self._of(ours[1]) if ours else name

    def house(self, queue: str) -> str:
        """What the house calls a queue of the broker."""
        name = PREFIX + queue.removeprefix(self.prefix)
        return name if self.queue(name) == queue else queue

    def is_ours(self, queue: str) -> bool:
        """Whether the broker's queue is one of this application's, made when it is first needed."""
        return queue.startswith(self.prefix)

    def retry(self, function: str, queue: str) -> str:
        """Where messages of `queue` wait for the function's next attempt, never in a queue that others share."""
        return self._of(f"retry.{function}.{queue}")

    def retried(self, queue: str) -> tuple[str, str] | None:
        """The function and the queue whose retries the broker's `queue` is for; None: it is no such queue, or too long
        to tell."""
        start = self._of("retry.")
        if not queue.startswith(start) or len(queue.encode()) >= MAX_BYTES:
            return None
        function, _, name = queue.removeprefix(start).partition(".")
        return function, name

    @property
    def entry(self) -> str:
        """The exchange at the top of the ladder of delays; its levels are called after it."""
        return self._of("delay")

    @property
    def due(self) -> str:
        """The exchange at its foot."""
        return self._of("due")

    @property
    def lost(self) -> str:
        """The exchange and the queue of delayed messages whose queue was gone when they were due."""
        return self._of("lost")

    @property
    def undelivered(self) -> str:
        """The dead letter queue of those."""
        return self.queue(UNDELIVERED)

    @property
    def claim(self) -> str:
        """The queue by which running nodes hold the application's name."""
        return self._of("claim")

    @property
    def nobody(self) -> str:
        """A queue that nobody makes."""
        return self._of("nobody")

    @property
    def prefix(self) -> str:
        """What all of them begin with."""
        return self._of("")

    def _of(self, name: str) -> str:
        return bounded(f"{PREFIX}{self.application}.{name}".translate(_LINE_ENDS))


def safe(name: str) -> str:
    """`name` as a part of queues' names: small letters, digits, `_` and `-`, at most 63 bytes.

    What had to be left out to get there is told apart by a hash.
    """
    found = slug(name)
    if not found or not name.isascii() or len(found) > 63:
        return f"{found[:40].rstrip('-') or 'app'}-{_hash(name)}"
    return f"{found}-app" if found in _KINDS else found


def bounded(name: str) -> str:
    """The name itself if AMQP can hold it, else its beginning and a hash of all of it."""
    encoded = name.encode(errors="replace")
    if len(encoded) <= MAX_BYTES:
        return name
    return f"{encoded[: MAX_BYTES - _HASH_DIGITS - 1].decode(errors='ignore')}-{_hash(name)}"


def _hash(name: str) -> str:
    return sha256(name.encode(errors="replace")).hexdigest()[:_HASH_DIGITS]
