"""The log pipe of one guest process: whole lines, each attributed to an invocation, capped for each invocation.

An instance with one slot runs one invocation at a time, so all that arrives between its begin and its end is its own,
also from threads and child processes; what arrives in between belongs to the instance. Before an invocation ends the
pipe is drained, if the guest's reply says that it holds anything.
"""

import asyncio
import os
from collections.abc import Callable

from msgspec import Struct

from sandbox.guest._forklight.wire import LEVEL_MARK, LEVELS

LINE_BYTES = 64 * 1024
"""A line longer than this is cut: nothing is kept without bound for a guest that never ends its line."""
READ_BYTES = 64 * 1024


class LogLine(Struct, frozen=True):
    """One line of a function's log. `invocation` is None for what the process wrote between calls."""

    function: str
    instance: str
    invocation: str | None
    text: str
    level: str = ""
    """`debug`, `info`, `warning`, `error` or `critical` of what came by `logging`; empty for everything else"""
    traceparent: str | None = None
    """of the invocation"""


_LEVELS = {f"{LEVEL_MARK}{digit}".encode(): name for digit, name in enumerate(LEVELS)}
_MARK_BYTES = 2

LogSink = Callable[[LogLine], None]


class LogPipe:
    """Reads the pipe as it fills and hands lines to `sink`; beyond `limit_bytes` an invocation's lines are dropped."""

    def __init__(self, fd: int, function: str, instance: str, limit_bytes: int, sink: LogSink) -> None:
        self._fd = fd
        self._function = function
        self._instance = instance
        self._limit_bytes = limit_bytes
        self._sink = sink
        self._invocation: str | None = None
        self._traceparent: str | None = None
        self._partial = b""
        self._used = self._dropped = 0
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(fd, self._read)

    def begin(self, invocation: str, traceparent: str | None = None) -> None:
        """From here on, what is written belongs to this invocation."""
        if self._partial or self._used:
            self._flush()
        self._invocation = invocation
        self._traceparent = traceparent

    def end(self, *, drain: bool) -> None:
        """The invocation has ended; with `drain`, what the pipe still holds is its own."""
        if drain:
            self.drain()
        if self._partial or self._used or self._dropped:
            self._flush()
        self._invocation = self._traceparent = None

    def drain(self) -> None:
        """Read what is there now, at most a pipe's content: a guest that writes without pause must not hold us."""
        for _ in range(1024 * 1024 // READ_BYTES):
            if not self._read():
                return

    def close(self) -> None:
        """Read the rest and close. No reader of a descriptor may outlive it."""
        self._loop.remove_reader(self._fd)
        self.drain()
        self._flush()
        os.close(self._fd)

    def _read(self) -> bool:
        try:
            data = os.read(self._fd, READ_BYTES)
        except BlockingIOError:
            return False
        if not data:
            self._loop.remove_reader(self._fd)  # every writer is gone; the descriptor itself is closed by its owner
            return False
        *lines, partial = (self._partial + data).split(b"\n")
        for line in lines:
            self._emit(self._cut(line))
        self._partial = self._cut(partial)
        return True

    def _cut(self, line: bytes) -> bytes:
        """The last piece of a line that is too long; those before it are lines of their own."""
        while len(line) > LINE_BYTES:
            self._emit(line[:LINE_BYTES])
            line = line[LINE_BYTES:]
        return line

    def _flush(self) -> None:
        """End the last line, and say how much was dropped."""
        if self._partial:
            self._emit(self._partial)
            self._partial = b""
        if self._dropped:
            text = f"[forklight] {self._dropped} more bytes of log dropped: the limit is {self._limit_bytes}"
            self._tell(text, "warning")
        self._used = self._dropped = 0

    def _emit(self, line: bytes) -> None:
        level = _LEVELS.get(line[:_MARK_BYTES], "")
        if level:
            line = line[_MARK_BYTES:]
        if self._used + len(line) + 1 > self._limit_bytes:
            self._dropped += len(line) + 1
            self._used = self._limit_bytes
            return
        self._used += len(line) + 1
        self._tell(line.decode(errors="backslashreplace"), level)

    def _tell(self, text: str, level: str) -> None:
        self._sink(LogLine(self._function, self._instance, self._invocation, text, level, self._traceparent))
