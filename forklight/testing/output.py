"""The lines that a handler prints and logs, as its function's log would have them.

Several runs may be gathered at the same time, in tasks or threads: each gets what is written in its own context, which
tasks and `asyncio.to_thread` inherit. What nothing ties to a run, such as the output of a thread of its own, belongs to
the only one, or else to none.
"""

import contextlib
import io
import logging
import sys
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from typing import TextIO

_FORMAT = "%(levelname)s %(name)s: %(message)s"


class _Run:
    """The lines of one run. A line is kept once it has ended, whenever it is flushed, as a server reads a log."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._begun: dict[TextIO, str] = {}

    def write(self, stream: TextIO, text: str) -> None:
        *ended, self._begun[stream] = (self._begun.get(stream, "") + text).split("\n")
        self.lines.extend(ended)

    def end(self) -> None:
        """End the invocation, and with it its last lines."""
        self.lines.extend(filter(None, self._begun.values()))
        self._begun.clear()


class _Runs:
    """The runs that are gathered now. While there are any, standard output and error and the root logger lead here."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: list[_Run] = []
        self._own: ContextVar[_Run | None] = ContextVar("own", default=None)
        self._installed = contextlib.ExitStack()

    @contextlib.contextmanager
    def one(self) -> Iterator[_Run]:
        """One more, for the block."""
        run = _Run()
        before = self._own.set(run)
        with self._lock:
            if not self._open:
                self._install()
            self._open.append(run)
        try:
            yield run
        finally:
            with self._lock:
                self._open.remove(run)
                if not self._open:
                    self._installed.close()
            self._own.reset(before)
            run.end()

    def now(self) -> _Run | None:
        """The run of the current context."""
        own = self._own.get()
        if own is not None:
            return own
        return self._open[0] if len(self._open) == 1 else None

    def _install(self) -> None:
        handler = _Lines()
        handler.setFormatter(logging.Formatter(_FORMAT))
        root = logging.getLogger()
        self._installed.callback(root.setLevel, root.level)
        self._installed.callback(root.removeHandler, handler)
        root.addHandler(handler)
        root.setLevel(min(root.level, logging.INFO) or logging.INFO)
        self._installed.enter_context(contextlib.redirect_stdout(_Tee(sys.stdout)))
        self._installed.enter_context(contextlib.redirect_stderr(_Tee(sys.stderr)))


_runs = _Runs()


@contextlib.contextmanager
def gathered() -> Iterator[list[str]]:
    """The lines of what the block writes to standard output and error and records it logs at INFO or above, in order.

    It all goes its usual way as well, so that a test runner shows it with a failure.
    """
    with _runs.one() as run:
        yield run.lines


class _Tee(io.TextIOBase):
    def __init__(self, original: TextIO) -> None:
        self._original = original

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if (run := _runs.now()) is not None:
            run.write(self._original, text)
        return self._original.write(text)

    def flush(self) -> None:
        self._original.flush()


class _Lines(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if (run := _runs.now()) is not None:
            run.lines.append(self.format(record))
