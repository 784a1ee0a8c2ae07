"""The frames between dispatcher and instance, as the guest reads and writes them; constants of control messages.

A frame is `u32 header length, u32 body length` (big-endian), a JSON header, a raw body. The parents share the constants
of this file and nothing else; they parse with limits of their own, because they trust no length that comes from here.
"""

import os
import signal
import struct
from typing import Any

from .jsons import make_encoder, scan

Frame = tuple[dict[str, Any], bytes]

_encode = make_encoder(ascii_only=True)

LENGTHS = struct.Struct(">II")
MAX_HEADER_BYTES = 1024 * 1024
ONE_READ_BYTES = 64 * 1024
_MAX_PIECES = 1024
"""Of one writev (IOV_MAX)."""
ONE_WRITE_BYTES = 64 * 1024
"""Up to this size header and body leave in one write; more is written as the socket takes it."""


MAX_CODE_CHARS = 200
MAX_TYPE_CHARS = 1024
MAX_MESSAGE_CHARS = 8 * 1024
MAX_TRACEBACK_CHARS = 128 * 1024
MAX_TEXT_CHARS = 64 * 1024
MAX_HEADERS = 1000
MAX_SECONDS = 366 * 86400.0
"""What a frame says at most; `sandbox/bounds.py` says of what."""

MAX_MESSAGE_BYTES = 64 * 1024
MAX_DESCRIPTORS = 8
"""Of one control message."""
PART_CHARS = 12 * 1024
"""A long control message travels as `part`s of this many characters of its JSON, each of at most four bytes."""
STACK_SIGNAL = signal.SIGRTMAX - 1
"""Asks any process of a function to write its Python stack (faulthandler), also one that is blocked in C."""
LEVELS = ("debug", "info", "warning", "error", "critical")
LEVEL_MARK = "\x1e"
"""Before a line of a log: a digit follows, which of LEVELS it has."""
RUNTIME_MARK = "forklight-requirements"
"""A file in the prefix of an environment that was made by `forklight install`: the path of its requirements."""


class Frames:
    """Cuts frames out of whatever pieces the socket gives."""

    def __init__(self) -> None:
        self._buffer: bytes | bytearray = b""

    def feed(self, data: bytes) -> None:
        """Take what was just read."""
        if not self._buffer:  # the usual case: one read, one frame
            self._buffer = data
            return
        if isinstance(self._buffer, bytes):
            self._buffer = bytearray(self._buffer)
        self._buffer += data

    def next(self) -> Frame | None:
        """The next whole frame, or None if more must be read first."""
        buffer = self._buffer
        if len(buffer) < LENGTHS.size:
            return None
        header_length, body_length = LENGTHS.unpack_from(buffer)
        body_start = LENGTHS.size + header_length
        end = body_start + body_length
        if len(buffer) < end:
            return None
        header, _ = scan(str(buffer[LENGTHS.size : body_start], "utf-8"), 0)
        if end == len(buffer) and isinstance(buffer, bytes):
            self._buffer = b""
            return header, buffer[body_start:]
        with memoryview(buffer) as view:
            body = bytes(view[body_start:end])
        self._buffer = buffer[end:]
        return header, body


def read(data: int, frames: Frames) -> Frame | None:
    """Block on the data socket until a whole frame is there; None once the dispatcher has closed its end."""
    while True:
        frame = frames.next()
        if frame is not None:
            return frame
        try:
            piece = os.read(data, ONE_READ_BYTES)
        except ConnectionError:
            return None
        if not piece:
            return None
        frames.feed(piece)


def write(data: int, header: dict[str, Any], chunks: "list[bytes]") -> None:
    """Write a whole frame to the blocking data socket; a dispatcher that is gone is noticed by the next read."""
    try:
        pieces = pack(header, chunks)
        sent = os.write(data, pieces[0]) if len(pieces) == 1 else os.writev(data, pieces[:_MAX_PIECES])
        for piece in pieces:
            while sent < len(piece):
                sent += os.write(data, memoryview(piece)[sent:])
            sent -= len(piece)
    except ConnectionError:
        pass


def pack(header: dict[str, Any], chunks: "list[bytes]") -> "list[bytes]":
    """The pieces to write, in order; a small frame is a single piece."""
    head = _encode(header).encode()
    length = sum(map(len, chunks))
    start = LENGTHS.pack(len(head), length) + head
    if len(start) + length <= ONE_WRITE_BYTES:
        return [start + b"".join(chunks)]
    return [start, *chunks]
