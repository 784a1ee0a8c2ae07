"""The CloudEvent that a message may carry: in its headers (binary mode) or as its body (structured mode). Pure.

AMQP 0-9-1 has no binding of its own. Knative's RabbitMQ source and the SDKs write `ce-`, the AMQP 1.0 binding has
`cloudEvents_` and `cloudEvents:` (CloudEvents AMQP binding 1.0.2 §3.1.3); all three are read.

Whoever sent a message is not there to be told that an attribute is broken, and its body may be worth an order all the
same. So an attribute that is not what it must be is left out, and the event gets what a message without it gets. Only
a structured event whose body is none is unreadable, as is any body that is not what its content type says.
"""

from base64 import b64decode
from typing import Any

from msgspec import DecodeError, Raw, Struct, json

from bus.times import has_offset
from triggers.queue.errors import UnreadableError

PREFIXES = ("ce-", "cloudEvents_", "cloudEvents:")
STRUCTURED = "application/cloudevents+json"
_NAMES = ("id", "source", "type", "time", "subject", "traceparent")


class Structured(Struct, frozen=True, kw_only=True):
    """What a body in structured mode says."""

    attributes: dict[str, str]
    datacontenttype: str
    body: bytes


def from_headers(headers: dict[str, Any]) -> dict[str, str]:
    """The attributes in binary mode, by name; of two prefixes the first of `PREFIXES` counts."""
    found = {}
    for prefix in reversed(PREFIXES):
        for name in _NAMES:
            value = headers.get(prefix + name)
            if isinstance(value, str) and _is_good(name, value):
                found[name] = value
    return found


def is_structured(content_type: str | None) -> bool:
    """Whether the body is the whole event; the media type's parameters do not matter."""
    return content_type is not None and content_type.partition(";")[0].strip().lower() == STRUCTURED


def from_body(body: bytes) -> Structured:
    """A body in structured mode (CloudEvents JSON format 1.0 §3). Raises UnreadableError."""
    try:
        members = json.decode(body, type=dict[str, Raw])
        attributes = {name: _decoded(members[name]) for name in _NAMES if name in members}
        content_type = _decoded(members["datacontenttype"]) if "datacontenttype" in members else None
        media_type = content_type if isinstance(content_type, str) and content_type else "application/json"
        return Structured(
            attributes={
                name: value for name, value in attributes.items() if isinstance(value, str) and _is_good(name, value)
            },
            datacontenttype=media_type,
            body=_data(members, media_type),
        )
    except (DecodeError, ValueError, RecursionError) as error:
        raise UnreadableError(f"its body is no CloudEvent, as its content type says: {error}") from None


def _data(members: dict[str, Raw], media_type: str) -> bytes:
    """JSON stays as it was written; the text of any other media type is that text, and base64 is decoded."""
    if "data_base64" in members:
        encoded = _decoded(members["data_base64"])
        if not isinstance(encoded, str):
            raise ValueError("data_base64 is not a text")
        return b64decode(encoded, validate=True)
    if "data" not in members:
        return b""
    if not _is_json(media_type):
        value = _decoded(members["data"])
        if isinstance(value, str):
            return value.encode()
    return bytes(members["data"])


def _is_json(media_type: str) -> bool:
    essence = media_type.partition(";")[0].strip().lower()
    return essence.endswith(("/json", "+json"))


def _decoded(raw: Raw) -> Any:
    return json.decode(raw)


def _is_good(name: str, text: str) -> bool:
    return has_offset(text) if name == "time" else bool(text)
