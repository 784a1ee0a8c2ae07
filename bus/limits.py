"""The limits of AMQP on names. Every store applies them, so that any message can go to any store. Pure."""

import re
from collections.abc import Iterator

from bus.message import Outgoing
from bus.store import RefusedError

MAX_NAME_BYTES = 255
"""Of a queue's or header's name, an id or a media type, in UTF-8: AMQP 0-9-1 short strings (§4.2.5.3)."""


def slug(text: str) -> str:
    """Return `text` in small letters, digits, `_` and `-`; a run of anything else becomes one `-`. May be empty."""
    return re.sub(r"[^a-z0-9_-]+", "-", text.lower()).strip("-")


def check(outgoing: Outgoing) -> None:
    """Raises RefusedError, which says which name is too long or not valid UTF-8."""
    for what, name in _names(outgoing):
        try:
            length_bytes = len(name.encode())
        except UnicodeEncodeError:
            raise RefusedError(f"a message to {outgoing.queue!r:.100}: {what} is not valid UTF-8") from None
        if length_bytes > MAX_NAME_BYTES:
            raise RefusedError(
                f"a message to {outgoing.queue!r:.100}: {what} has {length_bytes} bytes, the limit is {MAX_NAME_BYTES}"
            )


def _names(outgoing: Outgoing) -> Iterator[tuple[str, str]]:
    message = outgoing.message
    yield "the queue's name", outgoing.queue
    yield "the id", message.id or ""
    yield "the content type", message.content_type or ""
    yield "the correlation id", message.correlation_id or ""
    yield "the name in reply_to", message.reply_to or ""
    for header in message.headers:
        yield "a header's name", header
