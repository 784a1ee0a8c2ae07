"""How far a deploy is: one line on a terminal, drawn over and over; elsewhere a line for each step; or JSON lines."""

import shutil
import sys
import time
from types import TracebackType
from typing import Self

import msgspec

from forklight.observe.terminal import say, say_json, say_over

_BAR_WIDTH = 24
_EVERY_S = 0.1
_WIDTH = 10
"""Of the names of steps."""


class Progress:
    """Use it as a context manager, which ends the line that is being drawn."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._is_terminal = not as_json and sys.stderr.isatty()
        self._step, self._line, self._shown_s = "", "", 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self.end()

    def show(self, step: str, *, done: int = 0, of: int = 0, function: str = "", ms: float = 0) -> None:
        """Show a step: `done` of so many functions, or of so many bytes if it is the upload."""
        if self._as_json:
            told = {"step": step, "function": function, "done": done, "of": of, "ms": round(ms, 3)}
            say_json(msgspec.json.encode({key: value for key, value in told.items() if value}))
            return
        is_over = bool(of) and done >= of
        if step != self._step:
            self.end()
            self._step = step
        elif not is_over and time.monotonic() - self._shown_s < _EVERY_S:
            return
        self._shown_s = time.monotonic()
        what = _bytes(done, of, bar=self._is_terminal) if step == "uploading" else _functions(done, of, function)
        self._line = f"{step:{_WIDTH}}  {what}"
        if self._is_terminal:
            say_over(self._line.rstrip()[: shutil.get_terminal_size().columns - 1])

    def end(self) -> None:
        """End the line of the step."""
        if self._line and self._is_terminal:
            say(err=True)
        elif self._line:
            say(self._line.rstrip(), err=True)
        self._step = self._line = ""


def _functions(done: int, of: int, function: str) -> str:
    return f"{done} of {of}  {function}" if of else function


def _bytes(done: int, of: int, *, bar: bool) -> str:
    if not of:
        return ""
    filled = _BAR_WIDTH * done // of
    drawn = f"[{'#' * filled}{'.' * (_BAR_WIDTH - filled)}] " if bar else ""
    return f"{drawn}{size_told(done)}{f' of {size_told(of)}' if done < of else ''}"


def size_told(size_bytes: int) -> str:
    """Return a size in kB or MB."""
    return f"{size_bytes / 1e6:.1f} MB" if size_bytes >= 100_000 else f"{size_bytes / 1e3:.1f} kB"
