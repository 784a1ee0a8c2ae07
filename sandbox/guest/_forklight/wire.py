"""The frames between server and instance, as the guest reads and writes them; constants of both protocols.

A frame is `u32 header length, u32 body length` (big-endian), a JSON header, a raw body. The server imports only the
constants of this file; it has a parser of its own, because it trusts no length that comes from a guest.
"""

import io
import marshal
import mmap
import os
import signal
import struct
from typing import Any

from .jsons import make_encoder, scan

Frame = tuple[dict[str, Any], bytes]

encode = make_encoder(ascii_only=True)
"""The JSON of a header, or of a part of one."""

LENGTHS = struct.Struct(">II")
MAX_HEADER_BYTES = 1024 * 1024
ONE_READ_BYTES = 64 * 1024
KEPT_CHARS = 4 * 1024
"""The longest fixed part of an event that a process keeps."""
MAX_PIECES = 1024
"""The most that one writev takes (IOV_MAX)."""
ONE_WRITE_BYTES = 64 * 1024
"""Up to this size, header and body are joined and leave in one write."""


MAX_CODE_CHARS = 200
MAX_TYPE_CHARS = 1024
MAX_MESSAGE_CHARS = 8 * 1024
MAX_TRACEBACK_CHARS = 128 * 1024
MAX_TEXT_CHARS = 64 * 1024
MAX_HEADERS = 1000
MAX_MODULES = 4096
MAX_MODULE_CHARS = 200
MAX_LEFT_OUT = 10
MAX_REASON_CHARS = 160
MAX_SECONDS = 366 * 86400.0
"""Limits of the fields of a frame; `sandbox/bounds.py` lists the fields."""

MAX_MESSAGE_BYTES = 64 * 1024
MAX_FORKS = 16
"""Requests for an instance per control message."""
MAX_DESCRIPTORS = 4 * MAX_FORKS
"""Per control message."""
PART_CHARS = 12 * 1024
"""A long control message travels in parts of this many characters of its JSON, each at most four bytes long."""
STACK_SIGNAL = signal.SIGRTMAX - 1
"""Makes a function's process write its Python stack (faulthandler), even if it is blocked in C."""
LEVELS = ("debug", "info", "warning", "error", "critical")
LEVEL_MARK = "\x1e"
"""Starts a log line that has a level; a digit follows, the index into LEVELS."""
CALL_MARK = "\x1f"
"""Where several calls run at once: starts a log line of a call; the number of the call and a second mark follow."""
SHARED_FROM_BYTES, SHARED_BYTES = 16 * 1024, 256 * 1024
"""The sizes of a body that the server leaves in memory that it shares with the instance. The two copies cost half of
those through a socket, which allocates and frees what it carries. A larger body costs its memory more than a socket."""
STACK_BYTES = 64 * 1024
STACK_AT = SHARED_BYTES
"""Where the stacks begin in the memory that both sides share; the body is before them."""
TASKS_AT = STACK_AT + STACK_BYTES // 2
"""Where the second half of the stacks begins. It has the stacks of the tasks of overdue calls, each behind the mark of
its call; the first half is faulthandler's, which sees only threads."""
MEMORY_BYTES = STACK_AT + STACK_BYTES
"""The size of that memory, which is sealed."""
RUNTIME_MARK = "forklight-requirements"
"""A file in the prefix of an environment made by `forklight install`. Its first lines are the path of the requirements
and the command that installs them."""


class Shared:
    """The memory in which the server leaves one body."""

    fd = -1
    _memory: "mmap.mmap | None" = None

    def take(self, length: int) -> bytes:
        """The body that the last `invoke` announced."""
        if self._memory is None:  # most instances never get one
            self._memory = mmap.mmap(self.fd, SHARED_BYTES, access=mmap.ACCESS_READ)
        return self._memory[:length]


shared = Shared()
"""of this process, once it is an instance"""


class _Heads:
    """Reads headers. Keeps the fixed part of the last event, because that of the next one is often the same.

    It is kept as `marshal` writes it, which makes new objects of it in a third of the time that JSON takes: a handler
    may change its event.
    """

    def __init__(self) -> None:
        self._text = ""
        self._kept = b""
        """what `_text` says; empty until it comes again"""

    def read(self, text: str) -> dict[str, Any]:
        """The header as an object with all fields by name; that of an `invoke` is an array and the fixed part."""
        header, end = scan(text, 0)
        if end == len(text):
            return header  # type: ignore[no-any-return]
        i, deadline_ns, attempt, start, event_id, event_time, more = header
        event = self._fixed(text[end:])
        event["id"], event["time"] = event_id, event_time
        header = {"t": "invoke", "i": i, "deadline_ns": deadline_ns, "attempt": attempt, "start": start, "event": event}
        if more:
            header.update(more)
        return header

    def _fixed(self, text: str) -> dict[str, Any]:
        if text != self._text:
            self._text, self._kept = text if len(text) <= KEPT_CHARS else "", b""
        elif self._kept:
            return marshal.loads(self._kept)  # type: ignore[no-any-return]  # noqa: S302  our own, never left this process
        else:
            self._kept = marshal.dumps(scan(text, 0)[0])
        return scan(text, 0)[0]  # type: ignore[no-any-return]


class Frames:
    """Cuts what a socket delivers into frames. The body of a long frame is read to where it stays."""

    def __init__(self) -> None:
        self._heads = _Heads()
        self._buffer = b""
        self._at = 0
        """where the next frame begins"""
        self.has_more = False
        """Whether bytes are left after the frame that `next` returned last."""
        self._header: dict[str, Any] = {}
        self._body = io.BytesIO()
        self._room: memoryview | None = None
        """The part of `_body` that has not arrived, while a long frame is read."""

    def read(self, data: int) -> int:
        """Read once from the data socket; return how many bytes came, 0 at the end of file."""
        if self._room is None:
            piece = os.read(data, ONE_READ_BYTES)
            if self._buffer:
                self.feed(piece)
            else:  # the usual case: one read is one frame
                self._buffer = piece
            return len(piece)
        count = os.readv(data, [self._room])
        self._room = self._room[count:]
        return count

    def feed(self, data: bytes) -> None:
        """Add bytes that were read."""
        if self._room is not None:
            count = min(len(data), len(self._room))
            self._room[:count] = data[:count]
            self._room = self._room[count:]
            data = data[count:]
        self._buffer = self._buffer[self._at :] + data
        self._at = 0

    def next(self) -> Frame | None:
        """The next whole frame, or None if more bytes are needed."""
        if self._room is not None:
            return None if self._room else self._end_long()
        buffer = self._buffer
        start = self._at + LENGTHS.size
        if len(buffer) < start:
            return None
        header_length, body_length = LENGTHS.unpack_from(buffer, self._at)
        body_start = start + header_length
        end = body_start + body_length
        if len(buffer) < end:
            if end - self._at > ONE_READ_BYTES and len(buffer) >= body_start:
                self._begin_long(start, body_start, body_length)
            return None
        header = self._heads.read(buffer[start:body_start].decode())
        self.has_more = end < len(buffer)
        self._buffer, self._at = (buffer, end) if self.has_more else (b"", 0)
        return header, shared.take(header["shared"]) if "shared" in header else buffer[body_start:end]

    def _begin_long(self, start: int, body_start: int, body_length: int) -> None:
        """Make room for the whole body. The server is trusted: it has the bytes that it announces."""
        buffer, self._buffer, self._at = self._buffer, b"", 0
        self._header = self._heads.read(buffer[start:body_start].decode())
        self._body = io.BytesIO(bytes(body_length))
        room = self._body.getbuffer()
        arrived = len(buffer) - body_start
        room[:arrived] = memoryview(buffer)[body_start:]
        self._room = room[arrived:]

    def _end_long(self) -> Frame:
        """The frame, once the body is complete. `getvalue` of a BytesIO that was filled in place does not copy."""
        self._room = None
        header, body = self._header, self._body.getvalue()
        self._header, self._body = {}, io.BytesIO()
        return header, body


def read(data: int, frames: Frames) -> Frame | None:
    """Block on the data socket until there is a whole frame; None once the server has closed its end."""
    frame = frames.next() if frames.has_more else None
    while frame is None:
        try:
            if not frames.read(data):
                return None
        except ConnectionError:
            return None
        frame = frames.next()
    return frame


def write(data: int, pieces: "list[bytes]") -> None:
    """Write a whole frame to the blocking data socket. If the server is gone, the next read notices."""
    try:
        if len(pieces) == 1:
            sent = os.write(data, pieces[0])
            if sent == len(pieces[0]):  # the usual case
                return
        else:
            sent = os.writev(data, pieces[:MAX_PIECES])
        for piece in pieces:
            while sent < len(piece):
                sent += os.write(data, memoryview(piece)[sent:])
            sent -= len(piece)
    except ConnectionError:
        pass


def pack(header: str, chunks: "list[bytes]") -> "list[bytes]":
    """The pieces of a frame, in order; a small frame is a single piece. `header` is JSON."""
    head = header.encode()
    length = len(chunks[0]) if len(chunks) == 1 else sum(map(len, chunks))
    start = LENGTHS.pack(len(head), length) + head
    if len(start) + length <= ONE_WRITE_BYTES:
        return [start + b"".join(chunks)]
    return [start, *chunks]
