"""A message becomes an event, several become a batch: the one place that knows both. Pure.

A message without an id gets one when it is taken, and carries it from then on: into the event, into the copy that
waits for another attempt, into its dead letter. The id is made of what its publisher wrote, so that it is the same when
the message is delivered again unsettled; messages that are alike in everything have the same.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
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
from triggers.queue.packing import Packing, packing
from triggers.queue.settings import QueueTrigger

CALL = "forklight.call"
TYPE = "forklight.queue"
_ON_ITS_WAY = (OURS, "x-death", "x-first-death", "x-last-death", "x-delivery-count", "x-acquired-count")

MAX_HEAD_BYTES = 512 * 1024
"""Of one event without its body, as a guest is told it: half of what a frame's header may have."""
MAX_BATCH_HEAD_BYTES = 960 * 1024
"""Of all events of a batch: a frame's header may have 1 MiB, of which the batch itself needs little."""


def identified(delivery: Delivery) -> Delivery:
    """The delivery, its message with an id."""
    if delivery.message.id:
        return delivery
    found = celery.task_id(delivery)
    message_id = found if found and _is_name(found) else _digest(delivery)
    return replace(delivery, message=replace(delivery.message, id=message_id))


def _digest(delivery: Delivery) -> str:
    """Of all but what a broker, or we, write into a message on its way."""
    message = replace(delivery.message, headers={}, body=b"")
    own = [pair for pair in delivery.message.headers.items() if not pair[0].lower().startswith(_ON_ITS_WAY)]
    written = repr((message, own, replace(delivery.envelope, expiration=None)))
    return blake2b(written.encode(errors="replace") + delivery.message.body, digest_size=16).hexdigest()


def _is_name(text: str) -> bool:
    """Whether a message can carry it as its id."""
    return text.isprintable() and len(text.encode()) <= MAX_NAME_BYTES


def to_event(delivery: Delivery, trigger: QueueTrigger) -> Event:
    """The event a handler sees, of a delivery that is `identified`. Raises UnreadableError."""
    message = delivery.message
    shown = headers.shown(message.headers)
    attributes = cloudevents.from_headers(shown)
    body, content_type = message.body, message.content_type
    packed = packing(delivery.envelope.content_encoding, message.headers, body)
    if cloudevents.is_structured(content_type):
        if packed != Packing():
            raise UnreadableError("it is a CloudEvent in structured mode that is compressed: send it as it is")
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
        queue=None if is_call else _section(delivery, trigger, shown),
        call=CallSection(caller=_text(message.headers.get(CALLER))) if is_call else None,
        attempt=delivery.attempt,
        traceparent=_traceparent(message.headers.get(TRACEPARENT), attributes.get("traceparent")),
        hops=_hops(message.headers.get(HOPS)),
    )
    if head_bytes(event) > MAX_HEAD_BYTES:
        raise UnreadableError(f"its headers are over {MAX_HEAD_BYTES} bytes of JSON")
    return event


def bare_event(delivery: Delivery, trigger: QueueTrigger) -> Event:
    """What can be said of an unreadable one, for the record of what became of it."""
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
    """One event for all of them. The same items make the same id; it is as far and as often tried as any of them."""
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
    """How much of a frame's header the event takes. Raises UnreadableError if no JSON can hold it."""
    try:
        return len(json.encode(replace(event, body=b"")))
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise UnreadableError(f"something in its headers cannot be told to a handler: {error}") from None


def fit(items: Sequence[Event]) -> list[range]:
    """Consecutive items by their places, in groups that each fit into one frame."""
    groups, start, sum_bytes = [], 0, 0
    for place, item in enumerate(items):
        size_bytes = head_bytes(item)
        if place > start and sum_bytes + size_bytes > MAX_BATCH_HEAD_BYTES:
            groups.append(range(start, place))
            start, sum_bytes = place, 0
        sum_bytes += size_bytes
    return [*groups, range(start, len(items))]


def _section(delivery: Delivery, trigger: QueueTrigger, shown: dict[str, Any]) -> QueueSection:
    return QueueSection(
        name=delivery.queue,
        broker=trigger.broker,
        message_id=delivery.message.id,
        attempt=delivery.attempt,
        redelivered=delivery.redelivered,
        headers=shown,
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
    """When it was stored, or now: also if somebody's header says something absurd."""
    return _rfc3339(stored_at_s) or rfc3339_now()


def _rfc3339(at_s: float | None) -> str | None:
    """None for what is no time either."""
    try:
        return None if at_s is None else rfc3339(datetime.fromtimestamp(at_s, UTC))
    except (ValueError, OverflowError, OSError):
        return None


def _traceparent(*values: Any) -> str | None:
    """The first that is one."""
    return next((text for text in map(_text, values) if is_traceparent(text)), None)


def _hops(value: Any) -> int:
    """What is no count is 0: a message of somebody who does not count."""
    if isinstance(value, int) and not isinstance(value, bool):
        return max(0, value)
    text = _text(value)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return value if isinstance(value, str) else ""
