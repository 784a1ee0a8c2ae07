"""What every store refuses: names that AMQP cannot hold, so that a message can go to any store. Pure."""

from collections.abc import Iterator

from bus.message import Outgoing
from bus.store import RefusedError

MAX_NAME_BYTES = 255
"""Of the name of a queue or a header, an id, a media type, in UTF-8: the short strings of AMQP 0-9-1 (§4.2.5.3)."""


def check(outgoing: Outgoing) -> None:
    """Raises RefusedError, saying which of the message's names cannot be."""
    for what, name in _names(outgoing):
        try:
            length_bytes = len(name.encode())
        except UnicodeEncodeError:
            raise RefusedError(f"a message to {outgoing.queue!r:.100}: {what} is no UTF-8") from None
        if length_bytes > MAX_NAME_BYTES:
            raise RefusedError(
                f"a message to {outgoing.queue!r:.100}: {what} is {length_bytes} bytes: {MAX_NAME_BYTES} is the most"
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
