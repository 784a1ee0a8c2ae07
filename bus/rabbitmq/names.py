"""The names of Forklight's queues and exchanges on a broker. Pure.

Everywhere else, the inbox of `ship` is called `forklight.inbox.ship`, whatever the store. Applications that share a
virtual host may have functions with the same name, so on a broker the name contains the application's:
`forklight.shop.inbox.ship`. Other queues keep their names.
"""

import re
from hashlib import sha256

from msgspec import Struct

from bus.limits import slug
from bus.message import UNDELIVERED

PREFIX = "forklight."
MAX_BYTES = 255
"""The limit of AMQP 0-9-1's short strings (§4.2.5.3)."""
_OURS = re.compile(r"forklight\.((?:inbox|dead)\.[^.]+|undelivered)", re.DOTALL)
_KINDS = frozenset(("inbox", "dead", "retry", "delay", "due", "undelivered"))
"""Applications may not have these names: their queues would look like those of version 0.1."""
_HASH_DIGITS = 16
_LETTER_BYTES = 4
"""The longest in UTF-8: a shortened name lacks up to three bytes, because no part of a letter is left in it."""
_LINE_ENDS = {ord("\r"): None, ord("\n"): None}


class Names(Struct, frozen=True):
    """The names of one application, whose own name is `safe`."""

    application: str

    def queue(self, name: str) -> str:
        """Return the broker's name of a queue that is `name` everywhere else.

        RabbitMQ drops line ends from names of queues, but not from routing keys.
        """
        name = name.translate(_LINE_ENDS)
        ours = _OURS.fullmatch(name)
        return self._of(ours[1]) if ours else name

    def house(self, queue: str) -> str:
        """Return the name that the broker's queue has everywhere else."""
        name = PREFIX + queue.removeprefix(self.prefix)
        return name if self.queue(name) == queue else queue

    def is_ours(self, queue: str) -> bool:
        """Return whether the broker's queue belongs to this application: then it is made when it is first needed."""
        return queue.startswith(self.prefix)

    def retry(self, function: str, queue: str) -> str:
        """Return the queue where messages of `queue` wait for the function's next attempt, shared with no one."""
        return self._of(f"retry.{function}.{queue}")

    def retried(self, queue: str) -> tuple[str, str] | None:
        """Return the function and the queue of a retry queue; None if it is not one, or its name was shortened."""
        start = self._of("retry.")
        if not queue.startswith(start) or len(queue.encode()) > MAX_BYTES - _LETTER_BYTES:
            return None
        function, _, name = queue.removeprefix(start).partition(".")
        return function, name

    @property
    def entry(self) -> str:
        """The exchange at the top of the ladder of delays; the names of the levels begin with it."""
        return self._of("delay")

    @property
    def due(self) -> str:
        """The exchange at the foot of the ladder."""
        return self._of("due")

    @property
    def lost(self) -> str:
        """The exchange and the queue of delayed messages whose queue was gone when they were due."""
        return self._of("lost")

    @property
    def undelivered(self) -> str:
        """The dead letter queue for messages in `lost`."""
        return self.queue(UNDELIVERED)

    @property
    def claim(self) -> str:
        """The queue by which running nodes hold the application's name."""
        return self._of("claim")

    @property
    def nobody(self) -> str:
        """A queue that never exists."""
        return self._of("nobody")

    @property
    def prefix(self) -> str:
        """The beginning of all these names."""
        return self._of("")

    def _of(self, name: str) -> str:
        return bounded(f"{PREFIX}{self.application}.{name}".translate(_LINE_ENDS))


def safe(name: str) -> str:
    """Return `name` as a part of queues' names: lowercase letters, digits, `_` and `-`, at most 63 bytes.

    If characters had to be dropped, a hash keeps different names different.
    """
    found = slug(name)
    if not found or not name.isascii() or len(found) > 63:
        return f"{found[:40].rstrip('-') or 'app'}-{_hash(name)}"
    return f"{found}-app" if found in _KINDS else found


def bounded(name: str) -> str:
    """Return the name itself if it fits into AMQP, else its beginning and a hash of the whole."""
    encoded = name.encode(errors="replace")
    if len(encoded) <= MAX_BYTES:
        return name
    return f"{encoded[: MAX_BYTES - _HASH_DIGITS - 1].decode(errors='ignore')}-{_hash(name)}"


def _hash(name: str) -> str:
    return sha256(name.encode(errors="replace")).hexdigest()[:_HASH_DIGITS]
