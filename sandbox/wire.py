"""Cuts the bytes of a guest into frames, and writes the frames to a guest. Pure. ARCHITECTURE §8 lists them all.

A guest's bytes are checked before they are used. No length that a guest sends leads to an allocation: a length over its
limit is a breach at once, and below the limit memory grows only with the bytes that have arrived: a long body stays in
the pieces that were read until it is complete. A guest's JSON is decoded into exact types or is a breach.
"""

from typing import Any

import msgspec
from msgspec import to_builtins
from msgspec.structs import replace

from bus import Event, Ok, Outcome, Output
from bus.event import fixed_part
from bus.pieces import Pieces
from sandbox.errors import SandboxError
from sandbox.frames import NOTHING, Asked, CallFrame, ChunkFrame, EndFrame, Frame, OkFrame
from sandbox.guest._forklight.wire import LENGTHS, MAX_HEADER_BYTES, ONE_WRITE_BYTES


class Breach(SandboxError):
    """The guest broke the protocol; the message says how. The instance is killed."""


CHUNK_BYTES = 64 * 1024
"""The most that a `chunk` has in either direction."""


_decode = msgspec.json.Decoder(Frame).decode
_encode = msgspec.json.Encoder().encode
_lengths, _pack_lengths = LENGTHS.unpack_from, LENGTHS.pack


class Frames:
    """Cuts the bytes of a guest into frames. `max_body_bytes` is the function's `max_result`."""

    def __init__(self, max_body_bytes: int) -> None:
        self._max_body_bytes = max_body_bytes
        self._longest = max(max_body_bytes, CHUNK_BYTES)
        self._buffer = bytearray()
        self._long: Frame | None = None
        """The frame whose body is arriving, if that is longer than a read."""
        self._body = Pieces()
        self.missing_bytes = 0
        """of that body"""

    def feed(self, data: bytes) -> list[tuple[Frame, bytes]]:
        """The frames that `data` completes. Raises Breach, after which the guest must not be read any more."""
        if self._long is not None:
            return self._go_on(self._long, data)
        if not self._buffer:
            if LENGTHS.size <= len(data) <= ONE_WRITE_BYTES:
                header_length, body_length = _lengths(data)
                start = LENGTHS.size + header_length
                if start + body_length == len(data):  # the warm case: one read is one frame
                    return [(self._checked(data[LENGTHS.size : start], body_length), data[start:])]
            frame, end = self._cut(data)
            if end == len(data):
                return [] if frame is None else [frame]
        self._buffer += data
        frames: list[tuple[Frame, bytes]] = []
        while True:
            frame, end = self._cut(self._buffer)
            del self._buffer[:end]
            if frame is None:
                return frames
            frames.append(frame)

    def _go_on(self, frame: Frame, data: bytes) -> list[tuple[Frame, bytes]]:
        count = min(len(data), self.missing_bytes)
        self._body.add(data[:count])
        self.missing_bytes -= count
        if self.missing_bytes:
            return []
        self._long = None
        found = frame, self._body.take()
        return [found] if count == len(data) else [found, *self.feed(data[count:])]

    def _cut(self, data: bytes | bytearray) -> tuple[tuple[Frame, bytes] | None, int]:
        """The first frame, if `data` has all of it, and how much of `data` is done with."""
        if len(data) < LENGTHS.size:
            return None, 0
        header_length, body_length = _lengths(data)
        if header_length > MAX_HEADER_BYTES:
            raise Breach(f"a frame header of {header_length} bytes; the limit is {MAX_HEADER_BYTES}")
        if body_length > self._longest:
            raise Breach(f"a frame body of {body_length} bytes; the limit is {self._longest}")
        start = LENGTHS.size + header_length
        end = start + body_length
        if len(data) < end:
            if len(data) < start or end <= ONE_WRITE_BYTES:
                return None, 0
            self._long = self._checked(data[LENGTHS.size : start], body_length)
            self.missing_bytes = end - len(data)
            self._body.add(memoryview(data)[start:] if isinstance(data, bytes) else bytes(data[start:]))
            return None, len(data)
        if end <= ONE_WRITE_BYTES:  # of little data a slice is cheaper than a view
            return (self._checked(data[LENGTHS.size : start], body_length), bytes(data[start:end])), end
        with memoryview(data) as view:
            frame = self._checked(view[LENGTHS.size : start], body_length)
            return (frame, bytes(view[start:end])), end

    def _checked(self, header: bytes | bytearray | memoryview, body_length: int) -> Frame:
        try:
            frame: Frame = _decode(header)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Breach(f"an invalid frame header: {error}") from None
        if type(frame) is OkFrame and not frame.out and frame.length == body_length <= self._max_body_bytes:
            return frame  # the warm case
        if type(frame) is ChunkFrame:
            if not 0 < body_length <= CHUNK_BYTES:
                raise Breach(f"a `chunk` of {body_length} bytes; it must have 1 to {CHUNK_BYTES}")
            return frame
        if body_length > self._max_body_bytes:
            raise Breach(f"a frame body of {body_length} bytes; the limit is {self._max_body_bytes}")
        if type(frame) is not CallFrame:
            announced = frame.body_bytes if isinstance(frame, (OkFrame, EndFrame)) else 0
            if announced != body_length:
                raise Breach(f"a frame body of {body_length} bytes whose header announces {announced}")
        return frame


def outputs(frame: OkFrame | EndFrame, body: bytes) -> tuple[Output, ...]:
    """The outputs of the handler, with their bodies cut from the end of the frame's body."""
    found, at = [], frame.length
    for head in frame.out:
        found.append(
            Output(
                head.kind,
                head.name,
                head.content_type,
                body[at : at + head.length],
                head.delay_s,
                head.id,
                head.headers,
                head.correlation_id,
                head.reply_to,
            )
        )
        at += head.length
    return tuple(found)


def invoke(
    i: int,
    deadline_ns: int,
    attempt: int,
    start: str,
    event: Event,
    *,
    asked: Asked = NOTHING,
    shared: bool = False,
) -> list[bytes]:
    """The pieces of an `invoke` frame, in order; a small frame is a single piece, here and below.

    `shared`: the body is not in the frame, but in the memory that the instance shares.
    """
    fixed, body = (event.fixed or fixed_part(event), event.body) if event.items is None else _batch(event)
    more = {} if asked is NOTHING else to_builtins(asked)
    if shared:
        more["shared"] = len(body)
        body = b""
    call = _encode((i, deadline_ns, attempt, start, event.id, event.time, more))
    head = _pack_lengths(len(call) + len(fixed), len(body)) + call + fixed
    return [head + body] if len(head) + len(body) <= ONE_WRITE_BYTES else [head, body]


def cancel(i: int) -> bytes:
    """A `cancel` frame: the deadline of call `i` has passed."""
    return _pack({"t": "cancel", "i": i}, b"")[0]


def tidy() -> bytes:
    """A `tidy` frame: no call has come for a while."""
    return _pack({"t": "tidy", "i": 0}, b"")[0]


def chunk(i: int, data: bytes) -> list[bytes]:
    """The pieces of a `chunk` frame: the next 1 to CHUNK_BYTES bytes of the request's body."""
    return _pack({"t": "chunk", "i": i}, data)


def end(i: int, error: str | None = None) -> bytes:
    """An `end` frame: the request's body is complete, or, with `error`, the rest will not come."""
    header: dict[str, Any] = {"t": "end", "i": i}
    return _pack(header if error is None else header | {"error": error}, b"")[0]


def credit(i: int, more_bytes: int) -> bytes:
    """A `credit` frame: the guest may send this many more bytes of response chunks."""
    return _pack({"t": "credit", "i": i, "bytes": more_bytes}, b"")[0]


def reply(i: int, c: int, outcome: Outcome) -> list[bytes]:
    """The pieces of a `reply` frame: how call `c` from inside the handler of call `i` has ended."""
    header: dict[str, Any] = {"t": "reply", "i": i, "c": c}
    if isinstance(outcome, Ok):
        said = {"status": outcome.status, "type": outcome.content_type, "headers": outcome.headers}
        return _pack(header | said, outcome.body)
    failed = {"kind": outcome.kind, "code": outcome.code, "message": outcome.message}
    return _pack(header | failed | {"retry_after_s": outcome.retry_after_s}, b"")


def _pack(header: dict[str, Any], body: bytes) -> list[bytes]:
    head = _encode(header)
    start = _pack_lengths(len(head), len(body)) + head
    return [start + body] if len(start) + len(body) <= ONE_WRITE_BYTES else [start, body]


def _batch(event: Event) -> tuple[bytes, bytes]:
    """`fixed_part` and body of a batch: the bodies are joined, and each item is an event with the `length` of its own.

    Fields at their default are left out of the JSON.
    """
    items = event.items or ()
    heads = [to_builtins(replace(item, body=b"")) | {"length": len(item.body)} for item in items]
    return _encode(to_builtins(replace(event, items=None)) | {"items": heads}), b"".join(item.body for item in items)
