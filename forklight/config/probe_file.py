"""The form of a probe file: the JSON that `probe` names and `forklight record` writes. Pure.

    {"http": {"method": "POST", "path": "/orders?n=1", "headers": {…}}, BODY}
    {"queue": "orders", "message": {…}, BODY}       or "orders@shop", of a broker
    {"queue": "orders", "batch": [{"message": {…}, BODY}, …]}
    {"timer": "nightly"}
    {BODY}                                          a call, as of `forklight invoke`

BODY is one of `data` (any JSON), `text` and `base64`, or nothing; and `content_type`, which a request has as a header.
"""

import binascii
from base64 import b64decode, b64encode
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import asdict

JSON = "application/json"
EXAMPLE = '{"http": {"method": "POST", "path": "/orders"}, "data": {"n": 1}}'
_NOT_READABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class Request(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """An HTTP request without its body. `path` has the query, too, and is percent-encoded."""

    path: str
    method: str = "GET"
    headers: dict[str, str] = {}


class Envelope(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a message has besides its body. It has no id: every run of a probe is another message."""

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
    """RFC 3339."""
    expiration: str | None = None

    def timestamp_s(self) -> float | None:
        """Return the timestamp in seconds since the epoch. Raises ValueError."""
        if self.timestamp is None:
            return None
        try:
            at = datetime.fromisoformat(self.timestamp)
            return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            example = "2026-01-31T12:00:00Z"
            raise ValueError(f"message.timestamp {self.timestamp!r} is not a time, such as {example}") from None


class Contents(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A body, and the envelope of a message."""

    message: Envelope | None = None
    content_type: str | None = None
    data: Raw = Raw(b"")
    text: str | None = None
    base64: str | None = None

    def body(self) -> bytes:
        """Return the body, empty if there is none. Raises ValueError."""
        written = self._written()
        if len(written) > 1:
            raise ValueError(f"has {' and '.join(written)}: a body is one of them")
        if self.text is not None:
            return self.text.encode()
        if self.base64 is None:
            return bytes(self.data)
        try:
            return b64decode(self.base64, validate=True)
        except (binascii.Error, ValueError):
            raise ValueError("base64 is not base64") from None

    def media_type(self) -> str | None:
        """Return the content type: as it is written, else that of `data`."""
        return self.content_type or (JSON if bytes(self.data) else None)

    def _written(self) -> list[str]:
        found = {"data": bytes(self.data) or None, "text": self.text, "base64": self.base64}
        return [name for name, value in found.items() if value is not None]


class ProbeFile(Contents, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A whole file. It is a call if it has none of `http`, `queue` and `timer`."""

    http: Request | None = None
    queue: str | None = None
    batch: tuple[Contents, ...] | None = None
    timer: str | None = None


def read_probe(written: bytes) -> ProbeFile:
    """Read a file. Raises ValueError, which says what is wrong and where, as the end of a sentence about the file."""
    try:
        found = msgspec.json.decode(written, type=ProbeFile)
    except _NOT_READABLE as error:
        raise ValueError(f"is not an event: {error}; write one such as {EXAMPLE}") from None
    kinds = [kind for kind in ("http", "queue", "timer") if getattr(found, kind) is not None]
    if len(kinds) > 1:
        raise ValueError(f"has {' and '.join(kinds)}: an event has one of them")
    if why := _misplaced(found):
        raise ValueError(why)
    return found


def _misplaced(found: ProbeFile) -> str:
    """Return what does not belong to the event's kind, or nothing."""
    if found.batch is not None and found.queue is None:
        return "has a batch, which only an event of a queue has: name the queue"
    if found.message is not None and found.queue is None:
        return "has a message, which only an event of a queue has: name the queue"
    own = found.message is not None or found.content_type is not None or bool(found._written())
    if found.batch is not None and own:
        return "has a batch and a body or message beside it: each message of the batch has its own"
    if found.batch == ():
        return "has a batch without messages: it has at least one"
    if found.timer is not None and own:
        return "has a timer and a body: a timer's event has none"
    if found.http is not None and found.content_type is not None:
        return 'has http and content_type: write it as a header, {"http": {"headers": {"content-type": …}}}'
    return ""


def contents(body: bytes, content_type: str | None, *, is_request: bool = False) -> Contents:
    """Return a body in the most legible form from which it comes back byte for byte.

    A request has its content type among its headers.
    """
    kept = None if is_request else content_type
    if not body:
        return Contents(content_type=kept)
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return Contents(content_type=kept, base64=b64encode(body).decode())
    if "json" in (content_type or "").lower() and _is_data(body):
        return Contents(content_type=None if kept == JSON else kept, data=Raw(body))
    return Contents(content_type=kept, text=text)


def _is_data(body: bytes) -> bool:
    """Whether the body can stand in a file as it is."""
    try:
        found = msgspec.json.decode(b'{"data": %b}' % body, type=ProbeFile)
    except _NOT_READABLE:
        return False
    return found == ProbeFile(data=Raw(body))


def write_probe(probe: ProbeFile) -> str:
    """Return the file, with a line for each of its members."""
    return _object(probe, "") + "\n"


_ORDER = ("http", "queue", "timer", "message", "content_type", "data", "text", "base64")


def _object(probe: Contents, margin: str) -> str:
    """Return a JSON object whose bodies stand as they came."""
    members = {name: value for name, value in asdict(probe).items() if value not in (None, Raw(b""))}
    lines = [f'"{name}": {msgspec.json.encode(members[name]).decode()}' for name in _ORDER if name in members]
    if "batch" in members:
        inner = margin + "    "
        items = f",\n{inner}".join(_object(each, inner) for each in members["batch"])
        lines.append(f'"batch": [\n{inner}{items}\n{margin}  ]')
    return "{\n" + ",\n".join(f"{margin}  {line}" for line in lines) + f"\n{margin}}}" if lines else "{}"
