"""Conversion between the dict that a handler gets and the bus's own event.

The way is the real one: what the dispatcher would write is read as an instance reads it. So what a test hands to a
handler is what JSON has made of it, and no object of the test's own.
"""

from collections.abc import Mapping
from typing import Any, Literal, cast

import msgspec

from bus.event import CallSection, Event
from sandbox.guest._forklight.decoding import Undecodable
from sandbox.guest._forklight.encoding import encode_body
from sandbox.guest._forklight.events import data_of, make_event
from sandbox.guest._forklight.wire import Frames
from sandbox.wire import invoke
from triggers.queue.packing import packing

Decode = Literal["json", "text", "bytes"]

_SECTIONS = ("http", "queue", "timer", "topic", "call")
_KEYS = ("specversion", "id", "source", "type", "time", "subject", "datacontenttype", "body", "data", *_SECTIONS)
_DECODES: tuple[Decode | None, ...] = (None, "json", "text", "bytes")
_MISSING = object()


def frame(event: Event, *, deadline_ns: int = 0, attempt: int = 1, start: str = "warm") -> tuple[dict[str, Any], bytes]:
    """Return the header and the body of the frame that an instance would get."""
    frames = Frames()
    frames.feed(b"".join(invoke(1, deadline_ns, attempt, start, event)))
    found = frames.next()
    assert found is not None
    return found


def seen(event: Event) -> dict[str, Any]:
    """Return the dict that a handler gets. Raises ValueError if the body cannot be decoded: then no handler runs."""
    head, body = frame(event)
    try:
        return make_event(head["event"], body)
    except Undecodable as error:
        raise ValueError(f"no handler gets this event: {error}") from None


def event_of(given: Mapping[str, object]) -> Event:
    """Return the event that a handler would see as `given`: a result of `seen`, or a dict written by hand.

    Of the latter only what matters must be there: `{"data": …}` is a call. Raises ValueError naming what is wrong: a
    key that no event has, a section that is not whole, `data` that is not what `body` holds.
    """
    unknown = [key for key in given if key not in _KEYS]
    if unknown:
        raise ValueError(f"an event has no {unknown[0]!r}, only {', '.join(_KEYS)}")
    fields = {key: given[key] for key in _KEYS if given.get(key) is not None and key not in ("specversion", "data")}
    if (coding := _coding_of(given)) is not None:
        fields["coding"] = coding
    if not any(section in fields for section in _SECTIONS):
        fields["call"] = CallSection(caller="test")
    data = given.get("data", _MISSING)
    if _is_batch(given):
        fields["items"] = tuple(event_of(item) for item in cast("list[Mapping[str, object]]", data))
    elif "body" not in fields and data not in (_MISSING, None):
        fields["datacontenttype"], fields["body"] = encode_body(data)
    elif data is not _MISSING:
        fields["decode"] = _decode_that_gives(data, fields)
    try:
        event = msgspec.convert({"source": "/test", "type": "forklight.call"} | fields, Event)
    except msgspec.ValidationError as error:
        raise ValueError(f"no trigger makes such an event: {error}") from None
    section = event.queue or event.topic
    return event if section is None else msgspec.structs.replace(event, attempt=section.attempt)


def _is_batch(given: Mapping[str, object]) -> bool:
    data = given.get("data")
    return (
        isinstance(data, list)
        and bool(data)
        and not given.get("body")
        and all(isinstance(item, dict) and "specversion" in item for item in data)
    )


def _coding_of(given: Mapping[str, object]) -> str | None:
    """Return the Content-Encoding of a request or of a message."""
    http, queue = given.get("http"), given.get("queue")
    if isinstance(queue, Mapping):
        encoding, body = queue.get("content_encoding"), cast("bytes", given.get("body") or b"")
        return packing(encoding, queue.get("headers") or {}, body).coding
    headers = http.get("headers") if isinstance(http, Mapping) else None
    return headers.get("content-encoding") if isinstance(headers, Mapping) else None


def _decode_that_gives(data: object, fields: Mapping[str, object]) -> Decode | None:
    """Return the `decode` of the trigger that gives this data. An event does not have it."""
    body, content_type = cast("bytes", fields.get("body", b"")), cast("str | None", fields.get("datacontenttype"))
    for decode in _DECODES:
        try:
            if data_of(body, content_type, decode, cast("str | None", fields.get("coding"))) == data:
                return decode
        except Undecodable:
            continue
    raise ValueError("the event's data is not what its body holds: build the event with that data, or leave out body")
