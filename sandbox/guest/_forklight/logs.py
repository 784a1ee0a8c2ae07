"""Sends `print`, `logging` and `warnings` line by line to descriptors 1 and 2, which lead to the function's log.

Printed text becomes lines. A record of `logging` stays one entry, however many lines it has and whichever formatter and
standard stream it uses: see `records.py`.

The root logger has a default handler, so that records of libraries are visible without any set-up. It makes way for the
author's own set-up: `basicConfig` replaces it, and it is silent while the root logger has another handler that writes
to a standard stream, or each record would appear twice.
"""

import contextlib
import errno
import fcntl
import io
import logging
import sys
import termios
from typing import Any, ClassVar

from . import posix, records
from .current import CALL
from .loggers import never_disabled

FORMAT = "%(levelname)s %(name)s: %(message)s"
_BUFFER_BYTES = 64 * 1024
_ioctl, _FIONREAD = fcntl.ioctl, termios.FIONREAD
_UNREAD = bytearray(4)
_NONE = bytes(4)


def set_up(level: str = "info", *, has_several_calls: bool = False) -> None:
    """Set up the standard streams, the root logger and warnings, before the user's code is imported.

    Descriptors 0 to 2 must be open, and stay open when their streams are closed. `has_several_calls`: calls overlap, so
    each line names its own. On a terminal, lines have no marks.
    """
    kind = LineStream
    if not posix.is_terminal(2):
        logging.StreamHandler.emit = _emit  # type: ignore[assignment, method-assign]
        if has_several_calls:
            kind = MarkedStream
    sys.stdin = sys.__stdin__ = open(0, encoding="utf-8", closefd=False)  # type: ignore[misc]  # noqa: SIM115
    sys.stdout = sys.__stdout__ = line_stream(1, kind)  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = line_stream(2, kind)  # type: ignore[misc]
    handler = _Default(line_stream(2, kind))  # a stream of its own, because authors may close or replace sys.stderr
    handler.setFormatter(logging.Formatter(FORMAT))
    logging.root.handlers[:] = [handler]
    logging.root.setLevel(level.upper())
    logging.lastResort = handler  # if an author removes it, records still reach the log
    logging.basicConfig = _basic_config
    logging.captureWarnings(True)
    never_disabled("py.warnings")


def flush() -> None:
    """Write unfinished lines, which belong to the invocation that wrote them. Never raises."""
    for stream in (sys.stdout, sys.stderr):
        try:  # noqa: SIM105  in every call, suppress() would cost more than the flush
            stream.flush()
        except Exception:  # noqa: S110  the stream may be closed, None, or a replacement that raises anything
            pass
    if MarkedStream.unfinished:
        with contextlib.suppress(OSError):  # the server has gone
            MarkedStream.finish()


def _mark() -> str:
    """What starts a log line of the current call; empty if there is none."""
    call = CALL.get()
    return "" if call is None else call.mark


class LineStream(io.TextIOWrapper):
    """Text that reaches a descriptor line by line, each line up to 64 KiB in one write.

    Records have a stream of their own, so that they never join an unfinished line, and still arrive after the author
    has closed this stream.
    """

    records: "io.TextIOWrapper"

    def write_record(self, line: str) -> None:
        """Write a line by itself."""
        self.records.write(line)
        self.records.flush()


class MarkedStream(LineStream):
    """The same where several calls run at once: each line of a call starts with the call's mark.

    An unfinished line waits in `unfinished` until its call ends it, or ends itself. `flush` leaves it there, because
    what another call writes next would join it.
    """

    unfinished: "ClassVar[dict[tuple[MarkedStream, str], str]]" = {}
    """By the stream, which an author may have replaced as sys.stdout, and the mark."""

    def write(self, text: str) -> int:
        mark = _mark()
        if not mark or self.closed or not isinstance(text, str):
            return super().write(text)
        *lines, rest = (self.unfinished.pop((self, mark), "") + text).split("\n")
        if len(rest) > _BUFFER_BYTES:
            lines.append(rest)
        elif rest:
            self.unfinished[self, mark] = rest
        if lines:
            self.write_marked(mark, lines)
        return len(text)

    def write_record(self, line: str) -> None:
        super().write_record(_mark() + line)

    def write_marked(self, mark: str, lines: "list[str]") -> None:
        """Write whole lines of a call."""
        super().write_record("".join([f"{mark}{line}\n" for line in lines]))

    @classmethod
    def finish(cls) -> None:
        """Write the unfinished lines of the current call; outside of calls, those of all."""
        mark = _mark()
        for stream, each in (*cls.unfinished,):
            if mark in ("", each):
                stream.write_marked(each, [cls.unfinished.pop((stream, each), "")])

    @classmethod
    def part(cls) -> None:
        """In a child of the handler: the unfinished lines are its parent's, and its last flush writes its own."""
        cls.unfinished.clear()
        cls.flush = cls._flush_in_child  # type: ignore[assignment, method-assign]

    def _flush_in_child(self) -> None:
        super().flush()
        self.finish()


def line_stream(descriptor: int, kind: "type[LineStream]" = LineStream) -> LineStream:
    stream = kind(_Whole(descriptor), encoding="utf-8", errors="backslashreplace", newline="\n", line_buffering=True)
    stream.records = io.TextIOWrapper(_Whole(descriptor), encoding="utf-8", errors="backslashreplace", newline="\n")
    for each in (stream, stream.records):
        each._CHUNK_SIZE = _BUFFER_BYTES  # type: ignore[attr-defined]  # what it gathers before it writes
    return stream


class _Whole(io.FileIO):
    """The descriptor of a stream, without a buffer, as with `python -u`.

    io.BufferedWriter has a lock. A handler's child that is forked while another thread prints would wait for it for
    ever, because that thread does not exist in the child.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "w", closefd=False)

    def write(self, data: Any) -> int:
        """Write all of it: a signal may cut a write to a pipe short."""
        left = data
        while left:
            count = super().write(left)
            if count is None:
                raise BlockingIOError(errno.EAGAIN, "the log is full, and its descriptor was made non-blocking")
            left = memoryview(left)[count:]
        return len(data)


class _Default(logging.StreamHandler):  # type: ignore[type-arg]  # not generic at run time before Python 3.11
    """The default handler of the root logger. It is silent beside another one that writes to the same log."""

    def emit(self, record: logging.LogRecord) -> None:
        for other in logging.root.handlers:
            if other is not self and isinstance(getattr(other, "stream", None), LineStream):
                return
        super().emit(record)


_emit_lines = logging.StreamHandler.emit
_configure = logging.basicConfig


def _emit(self: "logging.StreamHandler[Any]", record: logging.LogRecord) -> None:
    """Replaces StreamHandler.emit: on our own streams, a record stays one entry."""
    stream = self.stream
    if not isinstance(stream, LineStream) or self.terminator != "\n":
        _emit_lines(self, record)
        return
    try:
        stream.write_record(records.framed(record, self.format(record)))
    except RecursionError:
        raise
    except Exception:
        self.handleError(record)


def _basic_config(**options: Any) -> None:
    """Replaces logging.basicConfig, which does nothing if the root logger has a handler: ours does not count."""
    root = logging.root
    own = [handler for handler in root.handlers if isinstance(handler, _Default)]
    if len(root.handlers) == len(own):
        root.handlers[:] = []
    try:
        _configure(**options)
    finally:
        if not root.handlers:
            root.handlers[:] = own


def has_unread(log: int) -> int:
    """1 if the log pipe holds bytes of this call, which the server must read before it ends the call.

    Asking the pipe itself (FIONREAD, ioctl_pipe) covers the output of child processes and C code, too. With a mutable
    buffer the question takes half the time.
    """
    _ioctl(log, _FIONREAD, _UNREAD)
    return 0 if _UNREAD == _NONE else 1
