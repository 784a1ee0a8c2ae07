"""An event: the immutable record of something that happened (CloudEvents 1.0 attributes plus the body as received).

Exactly one trigger section (`http`, `queue`, `timer`, `topic`, `call`) says how it came in; a batch has `items`
instead of a body of its own. The field names of the sections are what a handler sees under `event["http"]` and so on.

`gc=False`, here and on other structs that each event makes: they are never part of a cycle, so the collector need not
know of them.
"""

import re
from hashlib import blake2b
from typing import Any
from uuid import uuid4

from msgspec import Struct, field

from bus.times import rfc3339_now

Headers = dict[str, str]

_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.{0,200})?", re.ASCII
)

_TRACE_ID = re.compile(r"[0-9a-f]{16}(?!0{16})[0-9a-f]{16}", re.ASCII)


def is_traceparent(text: str) -> bool:
    """Whether it is one (W3C Trace Context §3.2): a broken one starts a new trace."""
    return _TRACEPARENT.fullmatch(text) is not None


def begin_trace(event_id: str) -> str:
    """The traceparent of the trace that an event begins if it is part of none: the same, whichever attempt is made.

    An id of hexadecimal digits, as ours and UUIDs are, is that of the trace; any other is hashed.
    """
    digits = event_id.replace("-", "").zfill(32)
    if not _TRACE_ID.fullmatch(digits):
        digits = blake2b(event_id.encode(errors="replace"), digest_size=16).hexdigest()
    return f"00-{digits}-{digits[-16:]}-00"


def trace_id(event_id: str, traceparent: str | None) -> str:
    """The 32 digits that all of one trace share."""
    return (traceparent or begin_trace(event_id))[3:35]


class HttpSection(Struct, frozen=True, kw_only=True, gc=False):
    """The request, header names in lower case; `params` are typed as the route declares them."""

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


class QueueSection(Struct, frozen=True, kw_only=True):
    """The message's envelope; `attempt` counts from 1."""

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
    """When its publisher says it was sent, RFC 3339."""
    expiration: str | None = None


class TimerSection(Struct, frozen=True, kw_only=True):
    """One scheduled time; `scheduled_at` is RFC 3339, `missed` how many earlier times this run stands for."""

    name: str
    schedule: str
    timezone: str
    scheduled_at: str
    past_due: bool = False
    missed: int = 0


class TopicSection(Struct, frozen=True, kw_only=True):
    """The topic this event was published to; `attempt` counts from 1."""

    name: str
    attempt: int = 1


class CallSection(Struct, frozen=True, kw_only=True):
    """Who invoked the function directly: another function's name, or a client such as `cli`."""

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
    """How the guest makes `data` of the body: `json`, `text`, `bytes`, or None for what the content type says."""
    coding: str | None = None
    """The Content-Encoding that the body has, which the guest undoes for `data`; None: it has none."""
    max_unpacked: int = 0
    """How many bytes it may have then; 0: what the guest allows."""
    function: str | None = None
    http: HttpSection | None = None
    queue: QueueSection | None = None
    timer: TimerSection | None = None
    topic: TopicSection | None = None
    call: CallSection | None = None
    items: "tuple[Event, ...] | None" = None
    attempt: int = 1
    """Which attempt at this event it is; its section says the same where it has one."""
    traceparent: str | None = None
    """of the trace it is part of; None: it begins one, see `begin_trace`"""
    hops: int = 0
    """How many handlers sent, published or spawned what led here."""


def held_bytes(event: Event) -> int:
    """About how much memory an event holds while it waits: its bodies, and what a client can make long beside them."""
    size_bytes = len(event.body)
    if event.http is not None:
        size_bytes += len(event.http.path) + sum(map(len, event.http.headers.values()))
    return size_bytes + sum(map(held_bytes, event.items or ()))
