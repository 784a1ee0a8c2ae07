"""Sends `print`, `logging` and `warnings` line by line to descriptors 1 and 2, which lead to the function's log.

Printed text becomes lines. A record of `logging` stays one entry, however many lines it has and whichever formatter and
standard stream it uses: see `records.py`.

The root logger has a default handler, so that records of libraries are visible without any set-up. It makes way for the
author's own set-up: `basicConfig` replaces it, and it is silent while the root logger has another handler that writes
to a standard stream, or each record would appear twice.
"""

import fcntl
import io
import logging
import sys
import termios
from typing import Any

from . import posix, records
from .loggers import never_disabled

FORMAT = "%(levelname)s %(name)s: %(message)s"
_BUFFER_BYTES = 64 * 1024
_UNREAD = bytearray(4)
_NONE = bytes(4)


def set_up(level: str = "info") -> None:
    """Set up the standard streams, the root logger and warnings, before the user's code is imported.

    Descriptors 0 to 2 must be open, and stay open when their streams are closed. On a terminal, records have no marks.
    """
    sys.stdin = sys.__stdin__ = open(0, encoding="utf-8", closefd=False)  # type: ignore[misc]  # noqa: SIM115
    sys.stdout = sys.__stdout__ = line_stream(1)  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = line_stream(2)  # type: ignore[misc]
    if not posix.is_terminal(2):
        logging.StreamHandler.emit = _emit  # type: ignore[assignment, method-assign]
    handler = _Default(line_stream(2))  # a stream of its own, because authors may close or replace sys.stderr
    handler.setFormatter(logging.Formatter(FORMAT))
    logging.root.handlers[:] = [handler]
    logging.root.setLevel(level.upper())
    logging.lastResort = handler  # if an author removes it, records still reach the log
    logging.basicConfig = _basic_config
    logging.captureWarnings(True)
    never_disabled("py.warnings")


def flush() -> None:
    """Flush unfinished lines, which belong to the invocation that wrote them. Never raises."""
    for stream in (sys.stdout, sys.stderr):
        try:  # noqa: SIM105  in every call, suppress() would cost more than the flush
            stream.flush()
        except Exception:  # noqa: S110  the stream may be closed, None, or a replacement that raises anything
            pass


class LineStream(io.TextIOWrapper):
    """Text that reaches a descriptor line by line, each line up to 64 KiB in one write.

    Records have a stream of their own, so that they never join an unfinished line, and still arrive after the author
    has closed this stream.
    """

    records: "io.TextIOWrapper"


def line_stream(descriptor: int) -> LineStream:
    stream = LineStream(
        _raw(descriptor), encoding="utf-8", errors="backslashreplace", newline="\n", line_buffering=True
    )
    stream.records = io.TextIOWrapper(_raw(descriptor), encoding="utf-8", errors="backslashreplace", newline="\n")
    return stream


def _raw(descriptor: int) -> io.BufferedWriter:
    return io.BufferedWriter(io.FileIO(descriptor, "w", closefd=False), _BUFFER_BYTES)


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
        stream.records.write(records.framed(record, self.format(record)))
        stream.records.flush()
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
    fcntl.ioctl(log, termios.FIONREAD, _UNREAD)
    return int(_UNREAD != _NONE)
