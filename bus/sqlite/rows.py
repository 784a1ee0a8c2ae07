"""Messages as rows of the table, and back. Pure.

The body is a column of its own. The rest is one MessagePack array, in which strings, numbers, booleans, None, lists,
tables, bytes and times keep their types. Times come back in UTC; one without a zone counts as UTC, like an AMQP
timestamp.
"""

from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from bus.errors import BusError
from bus.limits import check
from bus.message import Message, Outgoing
from bus.store import RefusedError

_ENVELOPE = tuple[str | None, str | None, dict[str, Any], str | None, str | None]
_PLAIN = frozenset({str, int, float, bool, type(None), bytes})
_MAX_DELAY_NS = 2**62

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_ENVELOPE).decode


class Row(NamedTuple):
    """An outgoing message, ready to be stored."""

    queue: str
    delay_ns: int
    envelope: bytes
    body: bytes


class UnreadableRowError(BusError):
    """A row is not a message: the file is damaged, or another program wrote it. The text says what is wrong."""


def row(outgoing: Outgoing) -> Row:
    """Return the message as a row. Raises RefusedError, which names the message, if it cannot be stored."""
    message = outgoing.message
    check(outgoing)
    try:
        return Row(outgoing.queue, delay_ns(outgoing.delay_s), envelope(message), message.body)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise RefusedError(f"message {message.id!r} for queue {outgoing.queue!r} cannot be stored: {error}") from error


def envelope(message: Message) -> bytes:
    """Encode a message without its body. Raises TypeError, ValueError, OverflowError or RecursionError."""
    headers = message.headers
    if not all(type(value) in _PLAIN for value in headers.values()):
        headers = _with_zones(headers)
    return _encode((message.id, message.content_type, headers, message.correlation_id, message.reply_to))


def message(envelope: Any, body: Any) -> Message:
    """Decode a message. Raises UnreadableRowError if it is not one that `envelope` encoded."""
    if not isinstance(body, bytes):
        raise UnreadableRowError(f"its body is {type(body).__name__}, not bytes")
    try:
        message_id, content_type, headers, correlation_id, reply_to = _decode(envelope)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:  # msgspec's own errors are ValueErrors
        raise UnreadableRowError(f"its envelope cannot be decoded: {error}") from error
    return Message(
        id=message_id,
        body=body,
        content_type=content_type,
        headers=headers,
        correlation_id=correlation_id,
        reply_to=reply_to,
    )


def delay_ns(delay_s: float) -> int:
    """Convert to nanoseconds, limited to what a column can hold. Raises ValueError or OverflowError."""
    return min(max(0, int(delay_s * 1e9)), _MAX_DELAY_NS)


def storable(text: str) -> str:
    """Replace what UTF-8 cannot encode: an error that quotes it must not prevent settling its message."""
    return text.encode(errors="replace").decode()


def _with_zones(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _with_zones(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_with_zones(each) for each in value]
    if isinstance(value, datetime) and value.tzinfo is None:
        return value.replace(tzinfo=UTC)
    return value
