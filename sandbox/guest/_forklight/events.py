"""The event as a handler sees it: a dict of CloudEvents 1.0 attributes, its trigger's section, `body` and `data`."""

from typing import Any

from .decoding import Undecodable, decode_body

_SECTIONS = ("http", "queue", "timer", "topic", "call")


def make_event(fields: dict[str, Any], body: bytes) -> dict[str, Any]:
    """`fields` is the event of an invoke frame, `body` the frame's body.

    Attributes an event has not are None; of the sections only its own is there. A batch has an empty `body` and a list
    of events as `data`; their bodies are consecutive in the frame's, each `length` bytes. Raises Undecodable.
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
    for name in _SECTIONS:
        section = field(name)
        if section is not None:
            event[name] = section
    items = field("items")
    if items is None:
        event["body"] = body
        event["data"] = decode_body(body, content_type, field("decode"))
    else:
        event["body"] = b""
        event["data"] = _make_items(items, body)
    return event


def _make_items(items: list[dict[str, Any]], body: bytes) -> list[dict[str, Any]]:
    events = []
    start = 0
    for number, item in enumerate(items):
        end = start + item["length"]
        try:
            events.append(make_event(item, body[start:end]))
        except Undecodable as error:
            raise Undecodable(f"item {number} of the batch (id {item.get('id')!r}): {error}") from None
        start = end
    return events
