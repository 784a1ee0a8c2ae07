"""What an event becomes as a probe: its file, without what may be secret. Pure.

Bodies come back byte for byte. What belongs to the one event stays out: ids, times, attempts, traces, and the headers
that only carried a request here.
"""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from msgspec import Struct
from msgspec.structs import asdict, replace

from bus.event import Event, HttpSection, QueueSection
from bus.places import join_place
from forklight.config.probe_file import JSON, Contents, Envelope, ProbeFile, Request, contents, write_probe
from forklight.deploying.secret_names import may_be_secret
from triggers.queue.cloudevents import PREFIXES
from triggers.queue.codec import TYPE

_OF_THE_CONNECTION = frozenset(
    ("connection", "content-length", "expect", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding")
) | {"upgrade"}
_TRACE = ("traceparent", "tracestate")
_OF_THE_MESSAGE = frozenset(
    prefix + name for prefix in PREFIXES for name in ("id", "source", "time", "specversion", "traceparent")
)


class Recorded(Struct, frozen=True, kw_only=True):
    """`probe` is the text of a probe file. `left_out` says what it lacks, such as `the header authorization`."""

    probe: str
    left_out: tuple[str, ...]


def recorded(event: Event) -> Recorded:
    """Return the event as a probe of its function."""
    left_out: list[str] = []
    probe = write_probe(_probe(event, left_out.append))
    return Recorded(probe=probe, left_out=tuple(dict.fromkeys(left_out)))


def _probe(event: Event, leave_out: Callable[[str], None]) -> ProbeFile:
    if event.timer is not None:
        return ProbeFile(timer=event.timer.name)
    if event.http is not None:
        body = contents(event.body, event.datacontenttype, is_request=True)
        return _file(body, http=_request(event.http, body, leave_out))
    if event.queue is not None:
        queue = join_place(event.queue.name, event.queue.broker)
        if event.items is not None:
            return ProbeFile(queue=queue, batch=tuple(_message(one, leave_out) for one in event.items))
        return _file(_message(event, leave_out), queue=queue)
    return _file(contents(event.body, event.datacontenttype))


def _file(body: Contents, **members: Any) -> ProbeFile:
    return ProbeFile(**asdict(body), **members)


def _request(section: HttpSection, body: Contents, leave_out: Callable[[str], None]) -> Request:
    own = _OF_THE_CONNECTION | set(_TRACE)
    headers = {name: value for name, value in section.headers.items() if name not in own}
    if bytes(body.data) and headers.get("content-type") == JSON:
        del headers["content-type"]  # `data` says it
    query = [(name, value) for name, values in section.query_all.items() for value in values]
    kept = [pair for pair in query if not may_be_secret(*pair)]
    for name, _ in query:
        if name not in dict(kept):
            leave_out(f"the parameter {name}")
    path = f"{section.path}?{urlencode(kept)}" if kept else section.path
    return Request(path=path, method=section.method, headers=_public(headers, leave_out))


def _message(event: Event, leave_out: Callable[[str], None]) -> Contents:
    section = event.queue or QueueSection(name="")
    own = _OF_THE_MESSAGE | set(_TRACE)
    headers = {name: value for name, value in section.headers.items() if name not in own}
    for name, value in (("type", event.type), ("subject", event.subject)):  # one may be from a body, a whole CloudEvent
        present = [prefix + name for prefix in PREFIXES if prefix + name in headers]
        if value == TYPE:
            headers = {each: text for each, text in headers.items() if each not in present}
        elif value is not None and not present:
            headers[f"ce-{name}"] = value
    envelope = Envelope(
        headers=_public(headers, leave_out),
        correlation_id=section.correlation_id,
        reply_to=section.reply_to,
        exchange=section.exchange,
        routing_key=section.routing_key,
        content_encoding=section.content_encoding,
        type=section.type,
        app_id=section.app_id,
        user_id=section.user_id,
        priority=section.priority,
        timestamp=section.timestamp,
        expiration=section.expiration,
    )
    body = contents(event.body, event.datacontenttype)
    return body if envelope == Envelope() else replace(body, message=envelope)


def _public(headers: dict[str, Any], leave_out: Callable[[str], None]) -> dict[str, Any]:
    """Return the headers that hold no secret."""
    secret = [name for name, value in headers.items() if may_be_secret(name, value)]
    for name in secret:
        leave_out(f"the header {name}")
    return {name: value for name, value in headers.items() if name not in secret}
