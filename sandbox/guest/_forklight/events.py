"""The event as a handler sees it: a dict of CloudEvents 1.0 attributes, its trigger's section, `body` and `data`."""

from typing import Any

from .decoding import Undecodable, decode_body

_ATTRIBUTES = ("id", "source", "type", "time", "subject", "datacontenttype")
_SECTIONS = ("http", "queue", "timer", "topic", "call")


def make_event(fields: dict[str, Any], body: bytes) -> dict[str, Any]:
    """`fields` is the event of an invoke frame, `body` the frame's body.

    Attributes an event has not are None; of the sections only its own is there. A batch has an empty `body` and a list
    of events as `data`; their bodies are consecutive in the frame's, each `length` bytes. Raises Undecodable.
    """
    event: dict[str, Any] = {"specversion": "1.0"}
    for name in _ATTRIBUTES:
        event[name] = fields.get(name)
    for name in _SECTIONS:
        if fields.get(name) is not None:
            event[name] = fields[name]
    items = fields.get("items")
    if items is None:
        event["body"] = body
        event["data"] = decode_body(body, event["datacontenttype"], fields.get("decode"))
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
