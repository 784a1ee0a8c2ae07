"""Where `print`, `logging` and `warnings` go: line by line to descriptors 1 and 2, which end in a function's log.

What is printed is lines. A record of `logging` stays one, whatever lines it has, whoever has formatted it and whichever
of the two streams it goes to: see `records.py`.

The root logger has a handler of ours, so that what libraries log is seen without any set-up. It makes way for what an
author sets up, as if it were not there: `basicConfig` replaces it, and it keeps silent where the root logger has
another handler that writes to a standard stream, or everything would be logged twice.
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
_NO_BYTES = bytes(4)


def set_up(level: str = "info") -> None:
    """Before the user's code is imported: new standard streams, the root logger and warnings.

    The descriptors 0 to 2 must be open; 0 is what the process side made empty. None of them is closed with its stream.
    Whoever reads a terminal is spared what marks a record.
    """
    sys.stdin = sys.__stdin__ = open(0, encoding="utf-8", closefd=False)  # type: ignore[misc]  # noqa: SIM115
    sys.stdout = sys.__stdout__ = line_stream(1)  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = line_stream(2)  # type: ignore[misc]
    if not posix.is_terminal(2):
        logging.StreamHandler.emit = _emit  # type: ignore[assignment, method-assign]
    handler = _Default(line_stream(2))  # of its own, for authors who close or replace sys.stderr
    handler.setFormatter(logging.Formatter(FORMAT))
    logging.root.handlers[:] = [handler]
    logging.root.setLevel(level.upper())
    logging.lastResort = handler  # an author who removes it has still somewhere to log to
    logging.basicConfig = _basic_config
    logging.captureWarnings(True)
    never_disabled("py.warnings")


def flush() -> None:
    """What was written without an end of line belongs to the invocation that wrote it. Never raises."""
    for stream in (sys.stdout, sys.stderr):
        try:  # noqa: SIM105  suppress() would cost more than the flush, at each call
            stream.flush()
        except Exception:  # noqa: S110  closed, None, or a replacement, which can raise anything
            pass


class LineStream(io.TextIOWrapper):
    """Text that reaches a descriptor a line at a time, each in one write as far as 64 KiB go.

    Records go beside it, in a stream of their own: they are no part of a line that has been begun, and still get there
    when the author has closed this one.
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


class _Default(logging.StreamHandler):  # type: ignore[type-arg]  # Python 3.10 cannot say of what
    """Ours. It is silent beside another one that writes to the same log."""

    def emit(self, record: logging.LogRecord) -> None:
        for other in logging.root.handlers:
            if other is not self and isinstance(getattr(other, "stream", None), LineStream):
                return
        super().emit(record)


_emit_lines = logging.StreamHandler.emit
_configure = logging.basicConfig


def _emit(self: "logging.StreamHandler[Any]", record: logging.LogRecord) -> None:
    """StreamHandler.emit, but for our own streams: to them a record goes as one."""
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
    """logging.basicConfig, which would do nothing if the root logger had a handler; ours does not count."""
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
    """1 if the log pipe holds bytes of this call: the dispatcher must read them before it ends the call.

    Asking the pipe (FIONREAD, ioctl_pipe) also covers what child processes and C code wrote.
    """
    return int(fcntl.ioctl(log, termios.FIONREAD, _NO_BYTES) != _NO_BYTES)
