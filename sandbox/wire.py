"""Frames as the dispatcher writes and reads them. Pure; what a guest sent is checked before anything is kept of it.

Nothing is allocated from a length that a guest sent: a length over its limit is a breach at once, and below the limit
memory grows only by bytes that have really arrived. A guest's JSON is decoded into exact types or is a breach.
"""

from typing import Any, Literal

import msgspec
from msgspec import Struct

from bus import Event, Output
from sandbox.guest._forklight.wire import LENGTHS, MAX_HEADER_BYTES, ONE_WRITE_BYTES

_OutputHead = tuple[Literal["send", "publish", "spawn"], str, str, int, float, str | None, dict[str, str]]
"""kind, name, content type, length of its body, delay in seconds, id, headers"""


class Breach(Exception):
    """The guest broke the protocol; the message says how. Its instance is killed."""


class _Numbers(Struct, kw_only=True):
    i: int
    started_ns: int = 0
    finished_ns: int = 0
    cpu_ns: int = 0
    peak_rss_kb: int = 0
    log: int = 0


class OkFrame(_Numbers, tag_field="t", tag="ok", kw_only=True):
    """The handler returned. The body holds `length` bytes of result, then the outputs' bodies in order."""

    status: int = 200
    type: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    length: int
    out: tuple[_OutputHead, ...] = ()


class FailFrame(_Numbers, tag_field="t", tag="fail", kw_only=True):
    """The handler failed (`error`), was ended by its deadline (`timeout`), or its instance could not start (`load`)."""

    kind: Literal["error", "timeout", "load"]
    code: str
    message: str
    traceback: str = ""
    retry_after_s: float | None = None


Frame = OkFrame | FailFrame
_decode = msgspec.json.Decoder(Frame).decode
_encode = msgspec.json.Encoder().encode


class Frames:
    """Cuts a guest's frames out of what arrives. `max_body_bytes` is the function's largest result."""

    def __init__(self, max_body_bytes: int) -> None:
        self._max_body_bytes = max_body_bytes
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[tuple[Frame, bytes]]:
        """The frames that `data` completes. Raises Breach, after which the guest is not read any more."""
        if not self._buffer:
            frame, end = self._cut(data)
            if frame is not None and end == len(data):  # the warm case: one read, one frame, one copy of the body
                return [frame]
        self._buffer += data
        frames: list[tuple[Frame, bytes]] = []
        while True:
            frame, end = self._cut(self._buffer)
            if frame is None:
                return frames
            frames.append(frame)
            del self._buffer[:end]

    def _cut(self, data: bytes | bytearray) -> tuple[tuple[Frame, bytes] | None, int]:
        if len(data) < LENGTHS.size:
            return None, 0
        header_length, body_length = LENGTHS.unpack_from(data)
        if header_length > MAX_HEADER_BYTES:
            raise Breach(f"a frame header of {header_length} bytes; the limit is {MAX_HEADER_BYTES}")
        if body_length > self._max_body_bytes:
            raise Breach(f"a frame body of {body_length} bytes; the limit is {self._max_body_bytes}")
        start = LENGTHS.size + header_length
        end = start + body_length
        if len(data) < end:
            return None, 0
        with memoryview(data) as view:
            frame = _checked(view[LENGTHS.size : start], body_length)
            return (frame, bytes(view[start:end])), end


def _checked(header: memoryview, body_length: int) -> Frame:
    try:
        frame: Frame = _decode(header)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Breach(f"a frame header that is not one of ours: {error}") from None
    expected = 0
    if isinstance(frame, OkFrame):
        lengths = [frame.length, *(head[3] for head in frame.out)]
        if min(lengths) < 0 or not 100 <= frame.status <= 599:
            raise Breach("a frame header with a negative length or an impossible status")
        expected = sum(lengths)
    if expected != body_length:
        raise Breach(f"a frame body of {body_length} bytes whose header speaks of {expected}")
    return frame


def outputs(frame: OkFrame, body: bytes) -> tuple[Output, ...]:
    """What the handler sent, published and spawned, cut from the end of the frame's body."""
    found, at = [], frame.length
    for kind, name, content_type, length, delay_s, output_id, headers in frame.out:
        found.append(Output(kind, name, content_type, body[at : at + length], delay_s, output_id, headers))
        at += length
    return tuple(found)


def invoke(i: int, deadline_ns: int, attempt: int, start: str, event: Event) -> list[bytes]:
    """The pieces of an `invoke` frame to write in order; a small one is a single piece."""
    head, body = _event_head(event)
    header = {"t": "invoke", "i": i, "deadline_ns": deadline_ns, "attempt": attempt, "start": start, "event": head}
    return _pack(header, body)


def cancel(i: int) -> bytes:
    """A `cancel` frame: the deadline of call `i` has passed."""
    return _pack({"t": "cancel", "i": i}, b"")[0]


def _pack(header: dict[str, Any], body: bytes) -> list[bytes]:
    head = _encode(header)
    start = LENGTHS.pack(len(head), len(body)) + head
    if len(start) + len(body) <= ONE_WRITE_BYTES:
        return [start + body]
    return [start, body]


_EVENT_FIELDS = tuple(name for name in Event.__struct_fields__ if name not in {"body", "items"})


def _event_head(event: Event) -> tuple[dict[str, Any], bytes]:
    """The event without its bytes, and the bytes; a batch's bodies are joined, each item's head says its `length`."""
    head = {name: value for name in _EVENT_FIELDS if (value := getattr(event, name)) is not None}
    if event.items is None:
        return head, event.body
    pairs = [_event_head(item) for item in event.items]
    head["items"] = [item | {"length": len(body)} for item, body in pairs]
    return head, b"".join(body for _, body in pairs)
