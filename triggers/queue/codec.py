"""Messages become events, and several become a batch. Pure.

A message without an id gets one when a consumer takes it, and keeps it: in the event, in the copy that waits for a
retry, in the dead letter. The id is derived from what the publisher wrote, so that it is the same if the message is
delivered again. Identical messages have the same id.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import blake2b, sha256
from typing import Any

from msgspec import json
from msgspec.structs import replace

from bus.event import CallSection, Event, QueueSection, is_traceparent
from bus.limits import MAX_NAME_BYTES
from bus.message import CALLER, HOPS, OURS, TRACEPARENT, Delivery, inbox
from bus.times import rfc3339, rfc3339_now
from triggers.queue import celery, cloudevents, headers
from triggers.queue.errors import UnreadableError
from triggers.queue.packing import NOT_PACKED, packing
from triggers.queue.settings import QueueTrigger

CALL = "forklight.call"
TYPE = "forklight.queue"
_ON_ITS_WAY = (OURS, "x-death", "x-first-death", "x-last-death", "x-delivery-count", "x-acquired-count")

MAX_HEAD_BYTES = 512 * 1024
"""Of one event without its body, as JSON for the guest: half of what a frame's header may have."""
MAX_BATCH_HEAD_BYTES = 960 * 1024
"""Of all events of a batch. A frame's header may have 1 MiB, and the batch itself needs little."""


def identified(delivery: Delivery) -> Delivery:
    """Return the delivery with a message that has an id."""
    if delivery.message.id:
        return delivery
    found = celery.task_id(delivery)
    message_id = found if found and _is_name(found) else _digest(delivery)
    return replace(delivery, message=replace(delivery.message, id=message_id))


def _digest(delivery: Delivery) -> str:
    """Hash everything except what a broker, or we, add to a message on its way."""
    message = replace(delivery.message, headers={}, body=b"")
    own = [pair for pair in delivery.message.headers.items() if not pair[0].lower().startswith(_ON_ITS_WAY)]
    written = repr((message, own, replace(delivery.envelope, expiration=None)))
    return blake2b(written.encode(errors="replace") + delivery.message.body, digest_size=16).hexdigest()


def _is_name(text: str) -> bool:
    """Whether the text can be a message's id."""
    return text.isprintable() and len(text.encode()) <= MAX_NAME_BYTES


def to_event(delivery: Delivery, trigger: QueueTrigger) -> Event:
    """Return the event of an `identified` delivery. Raises UnreadableError."""
    message = delivery.message
    visible = headers.visible(message.headers) if message.headers else {}
    attributes = cloudevents.from_headers(visible)
    body, content_type = message.body, message.content_type
    packed = packing(delivery.envelope.content_encoding, message.headers, body)
    if cloudevents.is_structured(content_type):
        if packed != NOT_PACKED:
            raise UnreadableError("it is a compressed CloudEvent in structured mode: send it uncompressed")
        inner = cloudevents.from_body(body)
        attributes, body, content_type = attributes | inner.attributes, inner.body, inner.datacontenttype
    is_call = attributes.get("type") == CALL and delivery.queue == inbox(trigger.function)
    event = Event(
        id=attributes.get("id") or message.id or "",
        source=attributes.get("source") or f"/forklight/queue/{delivery.queue}",
        type=attributes.get("type") or TYPE,
        time=attributes.get("time") or _time(delivery.stored_at_s),
        subject=attributes.get("subject"),
        datacontenttype=content_type,
        body=body,
        decode=trigger.decode or ("bytes" if packed.is_opaque else None),
        coding=packed.coding,
        function=trigger.function,
        queue=None if is_call else _section(delivery, trigger, visible),
        call=CallSection(caller=_text(message.headers.get(CALLER))) if is_call else None,
        attempt=delivery.attempt,
        traceparent=_traceparent(message.headers.get(TRACEPARENT), attributes.get("traceparent")),
        hops=_hops(message.headers.get(HOPS)),
    )
    if head_bytes(event) > MAX_HEAD_BYTES:
        raise UnreadableError(f"its headers are more than {MAX_HEAD_BYTES} bytes of JSON")
    return event


def bare_event(delivery: Delivery, trigger: QueueTrigger) -> Event:
    """Return the event of an unreadable delivery, for the record of what happened to it."""
    section = QueueSection(name=delivery.queue, broker=trigger.broker, attempt=delivery.attempt)
    return Event(
        id=delivery.message.id or "",
        source=f"/forklight/queue/{delivery.queue}",
        type=TYPE,
        function=trigger.function,
        queue=section,
        attempt=delivery.attempt,
    )


def batch_event(items: Sequence[Event], trigger: QueueTrigger) -> Event:
    """Return one event for all items. Equal items give equal ids; `attempt` and `hops` are the highest of any item."""
    ids = sha256("\n".join(item.id for item in items).encode(errors="replace")).hexdigest()
    attempt = max(item.attempt for item in items)
    return Event(
        id=f"batch-{ids[:32]}",
        source=f"/forklight/queue/{trigger.queue}",
        type=TYPE,
        function=trigger.function,
        queue=QueueSection(name=trigger.queue, broker=trigger.broker, attempt=attempt),
        items=tuple(items),
        attempt=attempt,
        hops=max(item.hops for item in items),
    )


def head_bytes(event: Event) -> int:
    """Return the size of the event in a frame's header. Raises UnreadableError if it cannot be JSON."""
    try:
        return len(json.encode(replace(event, body=b"")))
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise UnreadableError(f"its headers cannot be represented as JSON: {error}") from None


def fit(items: Sequence[Event]) -> list[range]:
    """Split the items into ranges of consecutive ones that each fit into one frame."""
    groups, start, sum_bytes = [], 0, 0
    for place, item in enumerate(items):
        size_bytes = head_bytes(item)
        if place > start and sum_bytes + size_bytes > MAX_BATCH_HEAD_BYTES:
            groups.append(range(start, place))
            start, sum_bytes = place, 0
        sum_bytes += size_bytes
    return [*groups, range(start, len(items))]


def _section(delivery: Delivery, trigger: QueueTrigger, visible: dict[str, Any]) -> QueueSection:
    return QueueSection(
        name=delivery.queue,
        broker=trigger.broker,
        message_id=delivery.message.id,
        attempt=delivery.attempt,
        redelivered=delivery.redelivered,
        headers=visible,
        correlation_id=delivery.message.correlation_id,
        reply_to=delivery.message.reply_to,
        exchange=delivery.exchange,
        routing_key=delivery.routing_key,
        content_encoding=delivery.envelope.content_encoding,
        type=delivery.envelope.type,
        app_id=delivery.envelope.app_id,
        user_id=delivery.envelope.user_id,
        priority=delivery.envelope.priority,
        timestamp=_rfc3339(delivery.envelope.timestamp_s),
        expiration=delivery.envelope.expiration,
    )


def _time(stored_at_s: float | None) -> str:
    """The time of storing, or now if it is unknown or absurd."""
    return _rfc3339(stored_at_s) or rfc3339_now()


def _rfc3339(at_s: float | None) -> str | None:
    """Convert seconds since the epoch; None if they are not a valid time."""
    if at_s is None:
        return None
    return _rfc3339_second(int(at_s)) if at_s.is_integer() else _rfc3339_at(at_s)


def _rfc3339_at(at_s: float) -> str | None:
    try:
        return rfc3339(datetime.fromtimestamp(at_s, UTC))
    except (ValueError, OverflowError, OSError):
        return None


_rfc3339_second = lru_cache(maxsize=16)(_rfc3339_at)
"""A broker's times are whole seconds, and many messages have the same."""


def _traceparent(*values: Any) -> str | None:
    """Return the first valid traceparent."""
    if not any(values):
        return None
    return next((text for text in map(_text, values) if is_traceparent(text)), None)


def _hops(value: Any) -> int:
    """Return the count, or 0 for anything that is not one: other senders do not count."""
    if value is None:
        return 0
    if isinstance(value, int) and not isinstance(value, bool):
        return max(0, value)
    text = _text(value)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return value if isinstance(value, str) else ""
