"""The event as a handler gets it: a dict of CloudEvents 1.0 attributes, its trigger's section, `body` and `data`."""

from typing import Any

from .codings import DECODED_BYTES
from .decoding import Undecodable, decode_body, unpack_body

_SECTIONS = ("queue", "timer", "topic", "call")
"""Besides `http`."""


def make_event(fields: dict[str, Any], body: bytes) -> dict[str, Any]:
    """Make an event from the `fields` and the `body` of an invoke frame. Raises Undecodable.

    Missing attributes are None; of the sections, the event has only its own. A batch has an empty `body` and a list of
    events as `data`; their bodies are consecutive in the frame's body, each `length` bytes.
    """
    field = fields.get
    content_type = field("datacontenttype")
    event: dict[str, Any] = {
        "specversion": "1.0",
        "id": field("id"),
        "source": field("source"),
        "type": field("type"),
        "time": field("time"),
        "subject": field("subject"),
        "datacontenttype": content_type,
    }
    if (http := field("http")) is not None:
        event["http"] = http
    else:
        for name in _SECTIONS:
            if (section := field(name)) is not None:
                event[name] = section
    if "items" in fields:
        event["body"] = b""
        event["data"] = _make_items(fields["items"], body)
        return event
    event["body"] = body
    decode, coding = field("decode"), field("coding")
    if decode is None and coding is None:  # the usual case
        event["data"] = decode_body(body, content_type, None) if body else None
    else:
        event["data"] = data_of(body, content_type, decode, coding, field("max_unpacked", 0))
    return event


def data_of(body: bytes, content_type: str | None, decode: str | None, coding: str | None, most_bytes: int = 0) -> Any:
    """The value of `data`: the body, unpacked if it has a `coding`, then decoded. Raises Undecodable.

    `decode = "bytes"` leaves the body as it is. `most_bytes`: the limit of the unpacked body; 0 for the default.
    """
    if coding and body and decode != "bytes":
        body = unpack_body(body, coding, most_bytes or DECODED_BYTES)
    return decode_body(body, content_type, decode)


def _make_items(items: list[dict[str, Any]], body: bytes) -> list[dict[str, Any]]:
    events = []
    start = 0
    for number, item in enumerate(items):
        end = start + item["length"]
        try:
            events.append(make_event(item, body[start:end]))
        except Undecodable as error:
            raise type(error)(f"item {number} of the batch (id {item.get('id')!r}): {error}") from None
        start = end
    return events
