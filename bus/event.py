"""An event: the immutable record of something that happened (CloudEvents 1.0 attributes plus the body as received).

Exactly one trigger section (`http`, `queue`, `timer`, `topic`, `call`) says how it came in; a batch has `items`
instead of a body of its own. Handlers see the sections' fields under `event["http"]` and so on.

Structs that are created for every event have `gc=False`: they are never part of a cycle, so the garbage collector need
not track them.
"""

import re
from hashlib import blake2b
from typing import Any
from uuid import uuid4

from msgspec import Struct, field
from msgspec.json import Encoder
from msgspec.structs import replace

from bus.times import rfc3339_now

Headers = dict[str, str]

_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.{0,200})?", re.ASCII
)

_TRACE_ID = re.compile(r"[0-9a-f]{16}(?!0{16})[0-9a-f]{16}", re.ASCII)


def is_traceparent(text: str) -> bool:
    """Whether `text` is a valid traceparent (W3C Trace Context §3.2); an invalid one starts a new trace."""
    return _TRACEPARENT.fullmatch(text) is not None


def begin_trace(event_id: str) -> str:
    """The traceparent of an event that has none. It is derived from the id, so every attempt belongs to one trace.

    A hexadecimal id, such as a UUID, becomes the trace id itself; any other id is hashed.
    """
    digits = _trace_id_of(event_id)
    return f"00-{digits}-{digits[-16:]}-00"


def trace_id(event_id: str, traceparent: str | None) -> str:
    """The 32 hexadecimal digits that identify the trace."""
    return traceparent[3:35] if traceparent else _trace_id_of(event_id)


def _trace_id_of(event_id: str) -> str:
    digits = event_id.replace("-", "").zfill(32)
    if _TRACE_ID.fullmatch(digits):
        return digits
    return blake2b(event_id.encode(errors="replace"), digest_size=16).hexdigest()


class HttpSection(Struct, frozen=True, kw_only=True, gc=False):
    """An HTTP request. Header names are in lower case; `params` have the types that the route declares.

    `key` is the name of the key that the request brought, and `scopes` are those of the key; None and empty on a route
    that requires no key.
    """

    method: str
    path: str
    route: str
    params: dict[str, Any] = {}
    query: Headers = {}
    query_all: dict[str, list[str]] = {}
    headers: Headers = {}
    cookies: Headers = {}
    host: str = ""
    scheme: str = "http"
    remote: str = ""
    key: str | None = None
    scopes: list[str] = []


class QueueSection(Struct, frozen=True, kw_only=True):
    """A message without its body. `attempt` counts from 1."""

    name: str
    broker: str = ""
    message_id: str | None = None
    attempt: int = 1
    redelivered: bool = False
    headers: dict[str, Any] = {}
    correlation_id: str | None = None
    reply_to: str | None = None
    exchange: str = ""
    routing_key: str = ""
    content_encoding: str | None = None
    type: str | None = None
    app_id: str | None = None
    user_id: str | None = None
    priority: int | None = None
    timestamp: str | None = None
    """When the message was sent, according to its publisher; RFC 3339."""
    expiration: str | None = None


class TimerSection(Struct, frozen=True, kw_only=True):
    """One scheduled time, in RFC 3339. `missed` counts the earlier times that this run stands for."""

    name: str
    schedule: str
    timezone: str
    scheduled_at: str
    past_due: bool = False
    missed: int = 0


class TopicSection(Struct, frozen=True, kw_only=True):
    """The topic that the event was published to. `attempt` counts from 1."""

    name: str
    attempt: int = 1


class CallSection(Struct, frozen=True, kw_only=True):
    """A direct invocation. `caller` is the name of another function, or a client such as `cli`."""

    caller: str = ""


class Event(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What a trigger hands to the bus. `id` stays the same through every retry; `time` is RFC 3339 in UTC."""

    source: str
    type: str
    id: str = field(default_factory=lambda: str(uuid4()))
    time: str = field(default_factory=rfc3339_now)
    subject: str | None = None
    datacontenttype: str | None = None
    body: bytes = b""
    decode: str | None = None
    """How the guest decodes the body: `json`, `text`, `bytes`, or None to follow the content type."""
    coding: str | None = None
    """The body's Content-Encoding, which the guest decodes; None if it has none."""
    max_unpacked: int = 0
    """The most bytes that the decoded body may have; 0 is the guest's own limit."""
    function: str | None = None
    http: HttpSection | None = None
    queue: QueueSection | None = None
    timer: TimerSection | None = None
    topic: TopicSection | None = None
    call: CallSection | None = None
    items: "tuple[Event, ...] | None" = None
    attempt: int = 1
    """Counts from 1; equal to the `attempt` of the section, if it has one."""
    traceparent: str | None = None
    """None starts a new trace, see `begin_trace`."""
    hops: int = 0
    """The length of the chain of handlers that led to this event by sending or spawning."""
    fixed: bytes = b""
    """What `fixed_part` returns for this event, if that is known: requests of one connection often have the same."""


_encode = Encoder().encode


def fixed_part(event: Event) -> bytes:
    """The event as JSON without its id, time and body, which are different each time."""
    return event.fixed or _encode(replace(event, id="", time="", body=b""))


def held_bytes(event: Event) -> int:
    """Roughly the memory that a waiting event holds: bodies, path and header values, whose lengths a client chooses."""
    size_bytes = len(event.body)
    if event.http is not None:
        size_bytes += len(event.http.path) + sum(map(len, event.http.headers.values()))
    return size_bytes if event.items is None else size_bytes + sum(map(held_bytes, event.items))
