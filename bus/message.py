"""Messages, and how events and outputs become messages. Pure.

CloudEvents attributes are headers with the prefix `ce-`, as Knative's RabbitMQ source writes them. Our own headers have
the prefix `forklight-`; handlers can set any header but those.
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
"""The prefix of our queues' names."""
TRACEPARENT = "traceparent"
HOPS = OURS + "hops"
CALLER = OURS + "caller"
ATTEMPT = OURS + "attempt"
"""The number of the next attempt; on a dead letter, the number of attempts made."""
STORED_AT = OURS + "stored-at"
"""When the first attempt took the message, in seconds since the epoch, so that its age includes all retries."""
FIRST_ERROR = OURS + "first-error"
LAST_ERROR = OURS + "last-error"
REASON = OURS + "reason"
QUEUE = OURS + "queue"
FUNCTION = OURS + "function"
DIED_AT = OURS + "died-at"
"""The last six are added to the headers of a dead letter."""
REMAINS = OURS + "remains"
"""On a dead letter made from an unreadable row: what the row had in place of a message's head."""


class Message(Struct, frozen=True, kw_only=True):
    """`headers` may hold any AMQP 0-9-1 value if somebody else sent it: numbers, tables, lists, times, bytes."""

    id: str | None = None
    body: bytes = b""
    content_type: str | None = None
    headers: dict[str, Any] = {}
    correlation_id: str | None = None
    reply_to: str | None = None


class Envelope(Struct, frozen=True, kw_only=True):
    """The other AMQP properties of a message. Retries keep them; the embedded store has none."""

    content_encoding: str | None = None
    type: str | None = None
    app_id: str | None = None
    user_id: str | None = None
    priority: int | None = None
    timestamp_s: float | None = None
    """When the message was sent, according to its publisher; seconds since the epoch."""
    expiration: str | None = None


class Outgoing(Struct, frozen=True, kw_only=True):
    """A message to be stored in a queue. No consumer gets it before `delay_s` have passed."""

    queue: str
    message: Message
    delay_s: float = 0.0
    broker: str = ""
    """The name of a `[brokers.NAME]`; empty for the bus's own store."""


class Delivery(Struct, frozen=True, kw_only=True):
    """A message leased to a consumer, until it is settled or the process or the connection ends."""

    queue: str
    message: Message
    lease: Any
    """The store's own handle."""
    attempt: int = 1
    """Counts from 1, and only attempts that ran: not one that was throttled, nor one that our own crash ended."""
    redelivered: bool = False
    """Whether the message may have run before, with an outcome that was lost."""
    stored_at_s: float | None = None
    """When the message was first stored, in seconds since the epoch; None if the broker does not say."""
    first_error: str = ""
    exchange: str = ""
    routing_key: str = ""
    envelope: Envelope = Envelope()


UNDELIVERED = "forklight.undelivered"
"""The queue of dead letters whose queue no longer existed when their delay ended."""


def inbox(function: str) -> str:
    """The queue of events that are sent to the function itself."""
    return f"forklight.inbox.{function}"


def dead_queue(function: str) -> str:
    """The queue of a function's dead letters, unless `dead_letter` names another one."""
    return f"forklight.dead.{function}"


def event_message(event: Event) -> Message:
    """Return an event as a message for its function's inbox, with the same id."""
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
    """Return the delivered message as a dead letter: the same id, body and headers, plus the reason."""
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
    """Return the message of a handler's `number`-th output for `event`.

    Unless the handler chose an id, it is the same in every attempt, so that receivers can recognise duplicates.
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
    """A message id has at most 255 bytes in AMQP; an event id may be longer."""
    if len(event_id.encode(errors="replace")) > 200:
        event_id = sha256(event_id.encode(errors="replace")).hexdigest()
    return f"{event_id}-{number}"


def _attributes(event_id: str, source: str, event_type: str) -> dict[str, Any]:
    return {CE + "specversion": "1.0", CE + "id": event_id, CE + "source": source, CE + "type": event_type}


def _lineage(event: Event, hops: int, caller: str) -> dict[str, Any]:
    """The headers that connect a message with the event that it is or comes from."""
    found: dict[str, Any] = {TRACEPARENT: event.traceparent or begin_trace(event.id)}
    if hops:
        found[HOPS] = hops
    if caller:
        found[CALLER] = caller
    return found
