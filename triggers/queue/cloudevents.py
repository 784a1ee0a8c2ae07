"""The CloudEvent in a message: in its headers (binary mode) or in its body (structured mode). Pure.

AMQP 0-9-1 has no binding of its own. Knative's RabbitMQ source and the SDKs use the prefix `ce-`, the AMQP 1.0 binding
`cloudEvents_` and `cloudEvents:` (CloudEvents AMQP binding 1.0.2 §3.1.3); all three are read.

The sender cannot be told about an invalid attribute, and the body may be a valuable order all the same. So an invalid
attribute is ignored, as if it were missing. Only a body in structured mode that is not a CloudEvent is unreadable, like
any body that contradicts its content type.
"""

from base64 import b64decode
from typing import Any

from msgspec import DecodeError, Raw, Struct, json

from bus.times import has_offset
from triggers.queue.errors import UnreadableError

PREFIXES = ("ce-", "cloudEvents_", "cloudEvents:")
STRUCTURED = "application/cloudevents+json"
_NAMES = ("id", "source", "type", "time", "subject", "traceparent")
_HEADERS = {prefix + name: name for prefix in reversed(PREFIXES) for name in _NAMES}
"""The names of headers; a later one takes precedence."""


class Structured(Struct, frozen=True, kw_only=True):
    """The contents of a body in structured mode."""

    attributes: dict[str, str]
    datacontenttype: str
    body: bytes


def from_headers(headers: dict[str, Any]) -> dict[str, str]:
    """Return the attributes in binary mode by name. Of several prefixes, the first in `PREFIXES` wins."""
    found: dict[str, str] = {}
    if headers.keys().isdisjoint(_HEADERS):
        return found
    for header, name in _HEADERS.items():
        value = headers.get(header)
        if isinstance(value, str) and _is_good(name, value):
            found[name] = value
    return found


def is_structured(content_type: str | None) -> bool:
    """Whether the body is the whole event. Parameters of the media type are ignored."""
    if content_type is None or content_type == "application/json":  # almost all
        return False
    return content_type.partition(";")[0].strip().lower() == STRUCTURED


def from_body(body: bytes) -> Structured:
    """Decode a body in structured mode (CloudEvents JSON format 1.0 §3). Raises UnreadableError."""
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
        raise UnreadableError(f"its content type is that of a CloudEvent, but its body is not one: {error}") from None


def _data(members: dict[str, Raw], media_type: str) -> bytes:
    """Keep JSON as it is, encode a text of any other media type, and decode base64."""
    if "data_base64" in members:
        encoded = _decoded(members["data_base64"])
        if not isinstance(encoded, str):
            raise ValueError("data_base64 is not a string")
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
