"""Messages as AMQP has them: properties, headers, and the copies that retries and dead letters are. Pure.

A copy keeps all that the original had, except what the broker wrote into it and what would act on the copy: an
expiration, and the user, who must be the one who publishes. `x-death` goes too: RabbitMQ finds cycles by it, and drops
a message that has been where the copy will go.
"""

import datetime
import time
from hashlib import blake2b
from typing import Any

from aio_pika.abc import DeliveryMode
from aio_pika.message import Message as AmqpMessage
from msgspec import Struct
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from bus.message import ATTEMPT, FIRST_ERROR, OURS, STORED_AT, Delivery, Message, dead_message
from bus.rabbitmq.delays import TO
from bus.rabbitmq.fields import encode_value
from bus.retry import Dead, Retry

ERROR_BYTES = 4096
"""How much of an error a header holds: all headers of a message travel in one frame."""
PROPERTIES = OURS + "properties"
"""On a message that is looked at: the AMQP properties for which a `Message` has no field. Published, it has them."""
ANONYMOUS = OURS + "anonymous"
"""On a message without an id: what it has is aiormq's, which needs one to tell what the broker returns."""
_BROKERS = frozenset(("x-delivery-count", "x-acquired-count"))
_DEATHS = frozenset(
    (
        *("x-death", "x-first-death-exchange", "x-first-death-queue", "x-first-death-reason"),
        *("x-last-death-exchange", "x-last-death-queue", "x-last-death-reason"),
    )
)
EXCHANGE, ROUTING_KEY = OURS + "exchange", OURS + "routing-key"
"""On a message that waits for another attempt: how the first one found it."""
_BOOKKEEPING = frozenset((ATTEMPT, STORED_AT, FIRST_ERROR, EXCHANGE, ROUTING_KEY))
_MORE = ("content_encoding", "priority", "message_type", "app_id", "timestamp")

Headers = dict[str, Any]


class Letter(Struct, frozen=True):
    """What is published: the properties of a message and its body."""

    properties: Basic.Properties
    body: bytes

    def fits(self, frame_bytes: int) -> bool:
        """Whether its properties go into one frame, as they must; else the broker ends the connection."""
        return len(ContentHeader(properties=self.properties, body_size=0).marshal()) + 8 <= frame_bytes


class Origin(Struct, frozen=True):
    """Where a delivery came from, as the broker says it."""

    exchange: str
    routing_key: str
    redelivered: bool
    is_retry: bool
    """From the retry queue of its function, not from the source's own."""


def message_of(properties: Basic.Properties, body: bytes, without: frozenset[str] = frozenset()) -> Message:
    """What others see of it: not what the broker or the ladder of delays wrote into it."""
    headers: Headers = properties.headers or {}
    hidden = without | _BROKERS | {ANONYMOUS} | (_DEATHS | {TO} if TO in headers else frozenset())
    return Message(
        id=None if ANONYMOUS in headers else properties.message_id or None,
        body=body,
        content_type=properties.content_type or None,
        headers={name: value for name, value in headers.items() if name not in hidden},
        correlation_id=properties.correlation_id or None,
        reply_to=properties.reply_to or None,
    )


def delivery_of(queue: str, properties: Basic.Properties, body: bytes, origin: Origin, lease: Any) -> Delivery:
    """A delivery of the source's `queue`. The bookkeeping of attempts is believed only in our own retry queue."""
    headers: Headers = properties.headers or {}
    kept = headers if origin.is_retry else {}
    stored_at_s = _number(kept.get(STORED_AT))
    if TO in headers:  # it came down the ladder of delays, and lies here as if it had been published here
        origin = Origin("", queue, origin.redelivered, origin.is_retry)
    return Delivery(
        queue=queue,
        message=message_of(properties, body, _BOOKKEEPING if origin.is_retry else frozenset()),
        lease=lease,
        attempt=max(1, int(_number(kept.get(ATTEMPT)) or 1)),
        redelivered=origin.redelivered,
        stored_at_s=timestamp_s(properties) if stored_at_s is None else stored_at_s,
        first_error=str(kept.get(FIRST_ERROR, "")),
        exchange=str(kept.get(EXCHANGE, origin.exchange)),
        routing_key=str(kept.get(ROUTING_KEY, origin.routing_key)),
    )


def timestamp_s(properties: Basic.Properties) -> float | None:
    """When its publisher says it was sent."""
    sent = properties.timestamp
    return sent.timestamp() if isinstance(sent, datetime.datetime) else None


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def letter(message: Message, delay_to: str = "") -> Letter:
    """A message of ours, persistent, sent now; `delay_to` is the queue it is for if it takes the ladder of delays."""
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
        for name in _MORE:
            setattr(properties, name, more.get(name, getattr(properties, name)))
    return Letter(properties, message.body)


def with_more_properties(message: Message, properties: Basic.Properties) -> Message:
    """The message with the rest of its properties in a header, for who looks at it and may publish it again."""
    more = {name: value for name in _MORE[:-1] if (value := getattr(properties, name))}
    if not more:
        return message
    return Message(**{**_fields(message), "headers": message.headers | {PROPERTIES: more}})


def _fields(message: Message) -> dict[str, Any]:
    return {name: getattr(message, name) for name in message.__struct_fields__}


def retry_copy(original: Basic.Properties, delivery: Delivery, decision: Retry, to: str) -> Letter:
    """What waits for the next attempt, in the end in the retry queue `to`."""
    stored_at_s = time.time() if delivery.stored_at_s is None else delivery.stored_at_s
    added = {
        ATTEMPT: delivery.attempt + 1,
        STORED_AT: stored_at_s,
        FIRST_ERROR: delivery.first_error or shortened(decision.error),
        EXCHANGE: delivery.exchange,
        ROUTING_KEY: delivery.routing_key,
    }
    return _copy(original, delivery, delivery.message.headers | added | ({TO: to} if decision.delay_s > 0 else {}))


def dead_copy(original: Basic.Properties, delivery: Delivery, decision: Dead, function: str) -> Letter:
    """A dead letter: the original headers, and what became of it."""
    dead = dead_message(delivery, function, decision.reason, shortened(decision.error), time.time())
    return _copy(original, delivery, dead.headers)


def _copy(original: Basic.Properties, delivery: Delivery, headers: Headers) -> Letter:
    properties = Basic.Properties(
        **{name: getattr(original, name) for name in (*_MORE, "content_type", "correlation_id", "reply_to")},
        headers=_lasting(headers) | ({} if delivery.message.id else {ANONYMOUS: True}),
        delivery_mode=2,
        message_id=delivery.message.id,
    )
    return Letter(properties, delivery.message.body)


def _lasting(headers: Headers) -> Headers:
    return {name: value for name, value in headers.items() if name not in _DEATHS and name != PROPERTIES}


def trimmed(copy: Letter, frame_bytes: int) -> tuple[Letter, list[str]]:
    """The copy without its largest foreign headers if all do not fit into a frame, and the names of those dropped."""
    dropped: list[str] = []
    headers = dict(copy.properties.headers or {})
    foreign = sorted(
        (name for name in headers if not name.startswith(OURS)), key=lambda n: len(encode_value(headers[n]))
    )
    while foreign and not copy.fits(frame_bytes):
        dropped.append(foreign.pop())
        del headers[dropped[-1]]
        copy.properties.headers = headers
    return copy, dropped


def shortened(error: str) -> str:
    """At most `ERROR_BYTES` of it."""
    return error.encode(errors="replace")[:ERROR_BYTES].decode(errors="ignore")


def digest(properties: Basic.Properties, body: bytes) -> str:
    """The same each time the message is looked at; what the broker counts in it is left out."""
    hashed = blake2b(body, digest_size=9)
    headers: Headers = properties.headers or {}
    hashed.update(encode_value({name: value for name, value in headers.items() if name not in _BROKERS}))
    hashed.update(repr([getattr(properties, name) for name in (*_MORE, "message_id", "correlation_id")]).encode())
    return hashed.hexdigest()
