"""Where `print`, `logging` and `warnings` go: line by line to descriptors 1 and 2, which end in a function's log."""

import io
import logging
import sys

from . import posix
from .wire import LEVEL_MARK, LEVELS

_BUFFER_BYTES = 64 * 1024


def set_up() -> None:
    """Before the user's code is imported: new standard streams, the root logger and warnings.

    The descriptors 0 to 2 must be open; 0 is what the process side made empty. None of them is closed with its stream.
    """
    sys.stdin = sys.__stdin__ = open(0, encoding="utf-8", closefd=False)  # type: ignore[misc]  # noqa: SIM115
    sys.stdout = sys.__stdout__ = _line_stream(1)  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = _line_stream(2)  # type: ignore[misc]
    # A stream of its own, so that a function that closes or replaces sys.stderr still has its log.
    handler = logging.StreamHandler(_line_stream(2))
    formatter = logging.Formatter if posix.is_terminal(2) else _Marking
    handler.setFormatter(formatter("%(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    logging.captureWarnings(True)


class _Marking(logging.Formatter):
    """Begins each line of a record with its level, for the log; whoever reads a terminal is spared that."""

    def format(self, record: logging.LogRecord) -> str:
        level = max(0, min(record.levelno // 10, len(LEVELS)) - 1)
        mark = f"{LEVEL_MARK}{level}"
        return mark + super().format(record).replace("\n", f"\n{mark}")


def flush() -> None:
    """What was written without an end of line belongs to the invocation that wrote it. Never raises."""
    for stream in (sys.stdout, sys.stderr):
        try:  # noqa: SIM105  suppress() would cost more than the flush, at each call
            stream.flush()
        except Exception:  # noqa: S110  closed, None, or a replacement, which can raise anything
            pass


def _line_stream(descriptor: int) -> io.TextIOWrapper:
    """Text that reaches the descriptor a line at a time, each in one write as far as 64 KiB go."""
    raw = io.BufferedWriter(io.FileIO(descriptor, "w", closefd=False), _BUFFER_BYTES)
    return io.TextIOWrapper(raw, encoding="utf-8", errors="backslashreplace", newline="\n", line_buffering=True)
