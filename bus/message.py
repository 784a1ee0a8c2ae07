"""A message: what a queue holds; and how events and outputs become messages. Pure.

Headers follow the CloudEvents naming that RabbitMQ users have (`ce-`, as Knative's RabbitMQ source writes them); ours
are `forklight-`, and a handler's own headers can set anything but those.
"""

from hashlib import sha256
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from bus.event import Event, begin_trace
from bus.outcome import Output

CE = "ce-"
OURS = "forklight-"
RESERVED = "forklight."
"""What the names of our queues begin with."""
TRACEPARENT = "traceparent"
HOPS = OURS + "hops"
CALLER = OURS + "caller"
ATTEMPT = OURS + "attempt"
"""On a message that waits for another attempt: which one that will be; on a dead letter: how many there were."""
STORED_AT = OURS + "stored-at"
"""When the first of its attempts found it, seconds since the epoch: its age goes on counting through retries."""
FIRST_ERROR = OURS + "first-error"
LAST_ERROR = OURS + "last-error"
REASON = OURS + "reason"
QUEUE = OURS + "queue"
FUNCTION = OURS + "function"
DIED_AT = OURS + "died-at"
"""The last six are what a dead letter has besides its original headers."""
REMAINS = OURS + "remains"
"""On a dead letter that was made of an unreadable row: what the row had in place of a message's head."""


class Message(Struct, frozen=True, kw_only=True):
    """`headers` of a foreign message may hold whatever AMQP 0-9-1 has: numbers, tables, lists, times, bytes."""

    id: str | None = None
    body: bytes = b""
    content_type: str | None = None
    headers: dict[str, Any] = {}
    correlation_id: str | None = None
    reply_to: str | None = None


class Envelope(Struct, frozen=True, kw_only=True):
    """What AMQP says of a message besides; nothing on the embedded store. A retry keeps it."""

    content_encoding: str | None = None
    type: str | None = None
    app_id: str | None = None
    user_id: str | None = None
    priority: int | None = None
    timestamp_s: float | None = None
    """When its publisher says it was sent, seconds since the epoch."""
    expiration: str | None = None


class Outgoing(Struct, frozen=True, kw_only=True):
    """A message on its way into a queue, where it is to be seen no earlier than `delay_s` from now."""

    queue: str
    message: Message
    delay_s: float = 0.0
    broker: str = ""
    """The name of a `[brokers.NAME]`; empty: the bus's own store."""


class Delivery(Struct, frozen=True, kw_only=True):
    """A message in hand: leased to its consumer until it is settled, or until the process or the connection ends."""

    queue: str
    message: Message
    lease: Any
    """The store's own handle."""
    attempt: int = 1
    """Counts from 1; what ended without an attempt at it (throttled, a crash of ours) does not count."""
    redelivered: bool = False
    """It may have been run before, with an outcome that nobody recorded."""
    stored_at_s: float | None = None
    """When it was first stored, seconds since the epoch; None where the broker does not tell."""
    first_error: str = ""
    exchange: str = ""
    routing_key: str = ""
    envelope: Envelope = Envelope()


UNDELIVERED = "forklight.undelivered"
"""The queue of dead letters that never reached the queue they were delayed for: it was gone when they were due."""


def inbox(function: str) -> str:
    """The queue of what is meant for one function: asynchronous invocations, later also topic events."""
    return f"forklight.inbox.{function}"


def dead_queue(function: str) -> str:
    """Where a function's dead letters go unless `dead_letter` names another queue."""
    return f"forklight.dead.{function}"


def event_message(event: Event) -> Message:
    """An event as a message of its function's inbox; its id stays the event's."""
    headers = _attributes(event.id, event.source, event.type) | {CE + "time": event.time}
    if event.subject is not None:
        headers[CE + "subject"] = event.subject
    return Message(
        id=event.id,
        body=event.body,
        content_type=event.datacontenttype,
        headers=headers | _lineage(event, event.hops, event.call.caller if event.call else ""),
    )


def dead_message(delivery: Delivery, function: str, reason: str, error: str, died_at_s: float) -> Message:
    """The delivery's message as a dead letter: it keeps id, body and headers, and says what became of it and why."""
    died = {
        REASON: reason,
        ATTEMPT: delivery.attempt,
        FIRST_ERROR: delivery.first_error or error,
        LAST_ERROR: error,
        QUEUE: delivery.queue,
        FUNCTION: function,
        DIED_AT: died_at_s,
    }
    return replace(delivery.message, headers=delivery.message.headers | died)


def output_message(output: Output, event: Event, number: int) -> Message:
    """What a handler sent or spawned, as the `number`-th output of its invocation for `event`.

    The id is the handler's, or one that is the same in every attempt, so that a receiver can tell a duplicate.
    """
    message_id = output.id or _output_id(event.id, number)
    kind = "forklight.call" if output.kind == "spawn" else "forklight.queue"
    caller = event.function or "" if output.kind == "spawn" else ""
    own = {name: value for name, value in output.headers.items() if not name.lower().startswith(OURS)}
    return Message(
        id=message_id,
        body=output.body,
        content_type=output.content_type,
        headers=_attributes(message_id, f"/forklight/{event.function}", kind)
        | own
        | _lineage(event, event.hops + 1, caller),
        correlation_id=output.correlation_id,
        reply_to=output.reply_to,
    )


def _output_id(event_id: str, number: int) -> str:
    """An event's id may be of any length, a message's has room for 255 bytes in AMQP."""
    if len(event_id.encode(errors="replace")) > 200:
        event_id = sha256(event_id.encode(errors="replace")).hexdigest()
    return f"{event_id}-{number}"


def _attributes(event_id: str, source: str, event_type: str) -> dict[str, Any]:
    return {CE + "specversion": "1.0", CE + "id": event_id, CE + "source": source, CE + "type": event_type}


def _lineage(event: Event, hops: int, caller: str) -> dict[str, Any]:
    """What a message has of the event that it comes from, or is."""
    found: dict[str, Any] = {TRACEPARENT: event.traceparent or begin_trace(event.id)}
    if hops:
        found[HOPS] = hops
    if caller:
        found[CALLER] = caller
    return found
