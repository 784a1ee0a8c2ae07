"""AMQP messages: properties, headers, and the copies for retries and dead letters. Pure.

A copy keeps everything in the original, except for what the broker added and what would affect the copy: an expiration,
and the user, because RabbitMQ requires it to be the publisher. It has no `x-death`, by which RabbitMQ detects cycles: a
copy could be dropped because the message has already been in its queue. With `CC` and `BCC` the broker would put the
copy into other queues too (sender-selected distribution). So published messages carry these headers under names of
ours, and readers see them under their own.

Nothing here fails on a stranger's message, and everything takes linear time.
"""

import datetime
import math
import struct
import time
from copy import copy as duplicate
from hashlib import blake2b
from typing import Any

from aio_pika.abc import DeliveryMode
from aio_pika.message import Message as AmqpMessage
from msgspec import Struct
from msgspec.structs import replace
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from bus.message import ATTEMPT, FIRST_ERROR, OURS, STORED_AT, Delivery, Envelope, Message, dead_message
from bus.rabbitmq.delays import TO
from bus.rabbitmq.fields import LAST_SECOND, Instant, RawName, encode_text, encode_value
from bus.retry import Dead, Retry

ERROR_BYTES = 4096
"""The part of an error that a header holds: all headers of a message share one frame."""
PROPERTIES = OURS + "properties"
"""The header of a browsed message for AMQP properties without a field in `Message`. `letter` restores them."""
ANONYMOUS = OURS + "anonymous"
"""The header of a message without an id. aiormq gives it one, to recognize messages that the broker returns."""
COUNT = "x-delivery-count"
"""How often a message was given back. Quorum queues set it, in some versions only from the second delivery on."""
_BROKERS = frozenset((COUNT, "x-acquired-count"))
MOVED = OURS + "moved"
"""The header of a message that was stored again in its own queue: the id of the look that did it."""
_DEATHS = frozenset(
    (
        *("x-death", "x-first-death-exchange", "x-first-death-queue", "x-first-death-reason"),
        *("x-last-death-exchange", "x-last-death-queue", "x-last-death-reason"),
    )
)
EXCHANGE, ROUTING_KEY = OURS + "exchange", OURS + "routing-key"
"""On a message that waits for another attempt: the values of its first delivery."""
USER_ID, EXPIRATION = OURS + "user-id", OURS + "expiration"
"""Likewise, for properties that would affect the copy."""
_BOOKKEEPING = frozenset((ATTEMPT, STORED_AT, FIRST_ERROR, EXCHANGE, ROUTING_KEY, USER_ID, EXPIRATION))
_TRAVELS_AS = {"CC": OURS + "cc", "BCC": OURS + "bcc"}
_SHOWN_AS = {ours: name for name, ours in _TRAVELS_AS.items()}
_MOST_ATTEMPTS = 10**9
_MORE = ("content_encoding", "priority", "message_type", "app_id", "timestamp")
_NAMES = ("content_type", "correlation_id", "reply_to", "message_id")

UNENCODABLE = (TypeError, ValueError, ArithmeticError, RecursionError, struct.error)
"""Exceptions of the encoder for a value for which AMQP has no type or no room."""

Headers = dict[str, Any]


class Letter(Struct, frozen=True):
    """A message to publish: its properties and its body."""

    properties: Basic.Properties
    body: bytes

    @property
    def size_bytes(self) -> int:
        """The size of the one frame for the properties. If it is too long, the broker closes the connection.

        Raises one of `UNENCODABLE` if they cannot be encoded.
        """
        return len(ContentHeader(properties=self.properties, body_size=0).marshal()) + 8


class Origin(Struct, frozen=True):
    """Where a delivery came from, according to the broker."""

    exchange: str
    routing_key: str
    redelivered: bool
    is_retry: bool
    """Whether it came from the retry queue of its function, not from the source's own queue."""


def message_of(properties: Basic.Properties, body: bytes, without: frozenset[str] = frozenset()) -> Message:
    """Return the message without the headers that the broker, or the ladder of delays, added."""
    headers: Headers = properties.headers or {}
    hidden = without | _BROKERS | {ANONYMOUS, MOVED} | (_DEATHS | {TO} if TO in headers else frozenset())
    return Message(
        id=None if ANONYMOUS in headers else _text(properties.message_id),
        body=body,
        content_type=_text(properties.content_type),
        headers={_SHOWN_AS.get(name, name): value for name, value in headers.items() if name not in hidden},
        correlation_id=_text(properties.correlation_id),
        reply_to=_text(properties.reply_to),
    )


def delivery_of(queue: str, properties: Basic.Properties, body: bytes, origin: Origin, lease: Any) -> Delivery:
    """Return a delivery of the source's `queue`. The headers about attempts count only in our own retry queue.

    They are removed from every message: a stranger's would count once the message was put aside.
    """
    headers: Headers = properties.headers or {}
    kept = headers if origin.is_retry else {}
    stored_at_s = _number(kept.get(STORED_AT))
    if TO in headers:  # it came through the ladder of delays, and should look as if it had been published here
        origin = Origin("", queue, origin.redelivered, origin.is_retry)
    return Delivery(
        queue=queue,
        message=message_of(properties, body, _BOOKKEEPING),
        lease=lease,
        attempt=int(min(_MOST_ATTEMPTS, max(1, _number(kept.get(ATTEMPT)) or 1))),
        redelivered=origin.redelivered,
        stored_at_s=timestamp_s(properties) if stored_at_s is None else stored_at_s,
        first_error=str(kept.get(FIRST_ERROR, "")),
        exchange=str(kept.get(EXCHANGE, origin.exchange)),
        routing_key=str(kept.get(ROUTING_KEY, origin.routing_key)),
        envelope=_envelope(properties, kept),
    )


def _envelope(properties: Basic.Properties, kept: Headers) -> Envelope:
    return Envelope(
        content_encoding=_text(properties.content_encoding),
        type=_text(properties.message_type),
        app_id=_text(properties.app_id),
        user_id=_text(kept.get(USER_ID) or properties.user_id),
        priority=properties.priority,
        timestamp_s=timestamp_s(properties),
        expiration=_text(kept.get(EXPIRATION) or properties.expiration),
    )


def timestamp_s(properties: Basic.Properties) -> float | None:
    """Return the publisher's timestamp. One after the year 9999 is read as milliseconds, or is None."""
    sent: Any = properties.timestamp
    if isinstance(sent, Instant):
        return int(sent) / 1000 if sent <= LAST_SECOND * 1000 else None
    return sent.timestamp() if isinstance(sent, datetime.datetime) else None


def _text(value: Any) -> str | None:
    """Return plain text, even for a name that is not UTF-8."""
    return str(value) if value else None


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def letter(message: Message, delay_to: str = "") -> Letter:
    """Return a persistent letter with the current time. `delay_to`: its queue, if it takes the ladder of delays."""
    added: Headers = ({TO: delay_to} if delay_to else {}) | ({} if message.id else {ANONYMOUS: True})
    properties = AmqpMessage(
        message.body,
        headers=_lasting(message.headers) | added,
        content_type=message.content_type,
        delivery_mode=DeliveryMode.PERSISTENT,
        correlation_id=message.correlation_id,
        reply_to=message.reply_to,
        message_id=message.id,
        timestamp=datetime.datetime.now(datetime.UTC),
    ).properties
    more = message.headers.get(PROPERTIES)
    if isinstance(more, dict):
        for name in (*_MORE, *_NAMES):
            setattr(properties, name, more.get(name, getattr(properties, name)))
    return Letter(properties, message.body)


def with_more_properties(message: Message, properties: Basic.Properties) -> Message:
    """Return the message with its other properties in a header, so that a reader can publish it again."""
    more = {name: value for name in _MORE[:-1] if (value := getattr(properties, name))}
    more |= {name: value for name in _NAMES if isinstance(value := getattr(properties, name), RawName)}
    own = {name: value for name, value in message.headers.items() if name != PROPERTIES}
    return replace(message, headers=own | ({PROPERTIES: more} if more else {}))


def retry_copy(original: Basic.Properties, delivery: Delivery, decision: Retry, to: str) -> Letter:
    """Return the copy that waits for the next attempt, eventually in the retry queue `to`."""
    error = shortened(decision.error) if decision.counts else ""
    added = _waiting(delivery, delivery.attempt + decision.counts, delivery.first_error or error)
    return _copy(original, delivery, delivery.message.headers | added | ({TO: to} if decision.delay_s > 0 else {}))


def unrun_copy(original: Basic.Properties, delivery: Delivery) -> Letter:
    """Return the copy that waits for this attempt, which was not made."""
    return _copy(
        original, delivery, delivery.message.headers | _waiting(delivery, delivery.attempt, delivery.first_error)
    )


def _waiting(delivery: Delivery, attempt: int, first_error: str) -> Headers:
    added: Headers = {
        ATTEMPT: attempt,
        STORED_AT: time.time() if delivery.stored_at_s is None else delivery.stored_at_s,
        FIRST_ERROR: first_error,
        EXCHANGE: delivery.exchange,
        ROUTING_KEY: delivery.routing_key,
    }
    if delivery.envelope.user_id:
        added[USER_ID] = delivery.envelope.user_id
    if delivery.envelope.expiration:
        added[EXPIRATION] = delivery.envelope.expiration
    return added


def dead_copy(original: Basic.Properties, delivery: Delivery, decision: Dead, function: str) -> Letter:
    """Return the dead letter: the original headers, and the reason of its death."""
    dead = dead_message(delivery, function, decision.reason, shortened(decision.error), time.time())
    return _copy(original, delivery, dead.headers)


def moved_copy(original: Basic.Properties, body: bytes, look: str) -> Letter:
    """Return a copy to replace a message in its own queue, without the broker's counts and the user."""
    properties = duplicate(original)
    headers: Headers = original.headers or {}
    properties.user_id = None
    properties.headers = {
        **{_TRAVELS_AS.get(name, name): value for name, value in headers.items() if name not in _BROKERS},
        **({} if original.message_id else {ANONYMOUS: True}),
        MOVED: look,
    }
    return Letter(properties, body)


def arrived_copy(original: Basic.Properties, body: bytes) -> Letter:
    """Return a copy for another queue of ours, without the headers of the ladder of delays."""
    moved = moved_copy(original, body, "")
    hidden = _DEATHS | {TO, MOVED}
    moved.properties.headers = {n: value for n, value in (moved.properties.headers or {}).items() if n not in hidden}
    return moved


def _copy(original: Basic.Properties, delivery: Delivery, headers: Headers) -> Letter:
    message_id = delivery.message.id
    properties = Basic.Properties(
        **{name: getattr(original, name) for name in (*_MORE, *_NAMES[:-1])},
        headers=_lasting(headers) | ({} if message_id else {ANONYMOUS: True}),
        delivery_mode=2,
        message_id=original.message_id if original.message_id == message_id else message_id,  # keeps a RawName's bytes
    )
    return Letter(properties, delivery.message.body)


def _lasting(headers: Headers) -> Headers:
    return {
        _TRAVELS_AS.get(name, name): value
        for name, value in headers.items()
        if name not in _DEATHS and name != PROPERTIES
    }


def trimmed(copy: Letter, frame_bytes: int) -> tuple[Letter, list[str]]:
    """Drop headers without an AMQP type, and the largest foreign ones until the rest fits into a frame.

    Returns the copy and the names of dropped headers.
    """
    headers: Headers = copy.properties.headers or {}
    sizes = {name: _size_bytes(name, value) for name, value in headers.items()}
    dropped = [name for name, size_bytes in sizes.items() if size_bytes is None]
    kept = {name: size_bytes for name, size_bytes in sizes.items() if size_bytes is not None}
    copy.properties.headers = {}
    over_bytes = copy.size_bytes + sum(kept.values()) - frame_bytes
    for name in sorted((name for name in kept if not name.startswith(OURS)), key=kept.__getitem__, reverse=True):
        if over_bytes <= 0:
            break
        over_bytes -= kept.pop(name)
        dropped.append(name)
    copy.properties.headers = {name: headers[name] for name in kept}
    return copy, dropped


def _size_bytes(name: str, value: Any) -> int | None:
    """Return the size of a header in a table; None if it cannot be encoded."""
    try:
        return len(encode_text(name)) + len(encode_value(value))
    except UNENCODABLE:
        return None


def shortened(error: str) -> str:
    """Return at most `ERROR_BYTES` of an error."""
    return error.encode(errors="replace")[:ERROR_BYTES].decode(errors="ignore")


def digest(properties: Basic.Properties, body: bytes) -> str:
    """Return a digest that is the same at each look at the message: the broker's counts are left out."""
    hashed = blake2b(body, digest_size=9)
    headers: Headers = properties.headers or {}
    hidden = _BROKERS | {ANONYMOUS, MOVED}
    own = {_TRAVELS_AS.get(name, name): value for name, value in headers.items() if name not in hidden}
    hashed.update(encode_value(own))
    message_id = None if ANONYMOUS in headers else properties.message_id
    hashed.update(repr([message_id, *(getattr(properties, name) for name in (*_MORE, "correlation_id"))]).encode())
    return hashed.hexdigest()
