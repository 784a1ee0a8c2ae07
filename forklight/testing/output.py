"""The lines that a handler prints and logs, as its function's log would have them."""

import contextlib
import io
import logging
import sys
from collections.abc import Iterator
from typing import TextIO

_FORMAT = "%(levelname)s %(name)s: %(message)s"


@contextlib.contextmanager
def gathered() -> Iterator[list[str]]:
    """The lines of what the block writes to standard output and error and records it logs at INFO or above, in order.

    It all goes its usual way as well, so that a test runner shows it with a failure.
    """
    lines: list[str] = []
    streams = (_Tee(sys.stdout, lines), _Tee(sys.stderr, lines))
    handler = _Lines(lines)
    handler.setFormatter(logging.Formatter(_FORMAT))
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(min(level, logging.INFO) or logging.INFO)
    try:
        with contextlib.redirect_stdout(streams[0]), contextlib.redirect_stderr(streams[1]):
            yield lines
    finally:
        root.setLevel(level)
        root.removeHandler(handler)
        for stream in streams:
            stream.end()


class _Tee(io.TextIOBase):
    """A line is kept once it has ended, whenever it is flushed, as when the server reads a log."""

    def __init__(self, original: TextIO, lines: list[str]) -> None:
        self._original = original
        self._lines = lines
        self._begun = ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        *ended, self._begun = (self._begun + text).split("\n")
        self._lines.extend(ended)
        return self._original.write(text)

    def flush(self) -> None:
        self._original.flush()

    def end(self) -> None:
        """End the invocation, and with it its last line."""
        if self._begun:
            self._lines.append(self._begun)
            self._begun = ""


class _Lines(logging.Handler):
    def __init__(self, lines: list[str]) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(self.format(record))
