"""The log pipe of one guest process: whole lines, each attributed to an invocation, with a limit per invocation.

With one invocation at a time, everything that arrives between its begin and its end belongs to it, including the output
of threads and child processes. With several, the guest marks the lines of each. What arrives outside invocations
belongs to the instance. Before an invocation ends, the pipe is drained if the guest says that it holds anything.

One turn of the event loop handles at most `TURN_LINES` lines of all pipes together and `PIPE_LINES` of one pipe; the
rest waits as bytes. The last lines of a call that writes more than that at once may be logged after the call's record.
"""

import asyncio
import os
from collections import deque
from collections.abc import Callable

from msgspec import MsgspecError, Raw, Struct
from msgspec.json import Decoder, decode

from sandbox.guest._forklight.wire import LEVEL_MARK, LEVELS
from sandbox.last_words import LastWords
from sandbox.log_lines import MARK_BYTES, NO_EXTRA, Cutter, LogLine, Taken
from sandbox.stacks import FULL_HEAP, Printed

READ_BYTES = 64 * 1024
DRAIN_BYTES = 1024 * 1024
"""The most that a pipe can hold."""
_JSON = LEVEL_MARK.encode()
PIPE_LINES = 250
TURN_LINES = 500
"""A line takes 5 to 10 µs."""


class _Record(Struct, gc=False):
    """A record that is more than a line of text, as the guest writes it (records.py)."""

    text: str
    traceback: str = ""
    extra: Raw = NO_EXTRA


_decode_record = Decoder(_Record).decode
_LEVELS = {f"{LEVEL_MARK}{digit}".encode(): name for digit, name in enumerate(LEVELS)}

LogSink = Callable[[LogLine], None]


def _record_of(line: bytes) -> _Record:
    """The record after a level mark: JSON after a second mark, else text. Malformed JSON counts as text."""
    if line.startswith(_JSON):
        try:
            record = _decode_record(line[1:])
            if isinstance(decode(record.extra), dict):
                return _Record(record.text, record.traceback, record.extra.copy())
        except (MsgspecError, UnicodeDecodeError, RecursionError):
            pass
    return _Record(line.decode(errors="backslashreplace"))


class LogTurns:
    """Shares the lines of one turn of the event loop among all pipes; pipes with more lines wait for the next turn."""

    def __init__(self, sink: LogSink) -> None:
        self.sink = sink
        self._left = TURN_LINES
        self._waiting: deque[LogPipe] = deque()
        self._armed = False

    def schedule(self, pipe: "LogPipe") -> None:
        """The pipe may have lines: emit them now, or in the turns that follow."""
        if pipe.has_more:  # it is in the queue already
            return
        self._spend(pipe)
        if not self._armed:
            self._armed = True
            asyncio.get_running_loop().call_soon(self._next_turn)

    def finish(self) -> None:
        """Emit all waiting lines at once, because the loop is about to end."""
        while self._waiting:
            self._next_turn()

    def _next_turn(self) -> None:
        self._left = TURN_LINES
        self._armed = False
        for _ in range(len(self._waiting)):
            if self._left > 0:  # else the order stays, and the oldest is first in the next turn
                self._spend(self._waiting.popleft())
        if self._waiting:
            self._armed = True
            asyncio.get_running_loop().call_soon(self._next_turn)

    def _spend(self, pipe: "LogPipe") -> None:
        self._left -= pipe.emit(min(PIPE_LINES, self._left))
        if pipe.has_more:
            self._waiting.append(pipe)


class LogPipe:
    """Reads the pipe as it fills and emits its lines; what an invocation writes beyond `limit_bytes` is dropped."""

    def __init__(
        self, fd: int, function: str, instance: str, limit_bytes: int, turns: LogTurns, *, has_marks: bool = False
    ) -> None:
        """`has_marks`: there may be several invocations at once, and the guest marks their lines."""
        self._fd = fd
        self._function = function
        self._instance = instance
        self.release = 0
        """Whose events the process runs, as the dispatcher says: its calls and its lines tell."""
        self._turns = turns
        self._cutter = Cutter(limit_bytes, has_marks=has_marks)
        self._printed: Printed | None = None
        self._last: LastWords | None = None
        self._is_closed = False
        self.has_full_heap = False
        """Whether the process has said that its heap is full, as V8 does before it aborts."""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(fd, self._readable)

    def begin(self, i: int, invocation: str, traceparent: str | None = None) -> None:
        """Call `i` begins: attribute its lines to this invocation."""
        if self._cutter.begin(i, invocation, traceparent):
            self._turns.schedule(self)

    def end(self, i: int, *, drain: bool) -> None:
        """Call `i` has ended; with `drain`, the pipe may still hold lines of it."""
        if drain:
            self.drain()
        if self._cutter.end(i):
            self._turns.schedule(self)

    def await_stack(self) -> None:
        """The process is about to print a stack, which is not part of the log."""
        self._printed = self._printed or Printed()

    def keep_last_words(self, *, keep: bool) -> None:
        """Keep the last of what the process prints, for `last_words`, from now on or no more."""
        self._last = LastWords() if keep else None

    def last_words(self) -> list[str]:
        """The last lines that it has printed, without a stack that it printed for us."""
        if self._last is None:
            return []
        if not self._is_closed:
            self.drain()
        printed = Printed()
        return [_parsed(line)[1].text for line in self._last.lines() if not printed.take(line)]

    @property
    def stack(self) -> str:
        """The stack that the process has printed when it was interrupted, or an empty text."""
        return "" if self._printed is None else self._printed.text

    @property
    def has_more(self) -> bool:
        """Whether lines wait for a later turn."""
        return self._cutter.has_more

    def emit(self, most: int) -> int:
        """Pass at most this many lines to the sink; returns how many it has looked at, about."""
        taken = self._cutter.take(most)
        for line in taken:
            self._emit(line)
        return most if self.has_more else len(taken)

    def close(self) -> None:
        """Read the rest, then close the pipe."""
        self._loop.remove_reader(self._fd)
        self.drain()
        self._cutter.close()
        self._turns.schedule(self)
        os.close(self._fd)
        self._is_closed = True

    def drain(self) -> None:
        """Read what the pipe holds. Bounded, because a guest that writes without pause must not block the server."""
        for _ in range(DRAIN_BYTES // READ_BYTES):
            if self._read() < READ_BYTES:  # it is empty now
                break
        self._turns.schedule(self)

    def _readable(self) -> None:
        if not self.has_more and self._read():
            self._turns.schedule(self)

    def _read(self) -> int:
        """Read once; returns how many bytes there were."""
        try:
            data = os.read(self._fd, READ_BYTES)
        except BlockingIOError:
            return 0
        if not data:
            self._loop.remove_reader(self._fd)  # every writer is gone; the owner closes the descriptor
            return 0
        if FULL_HEAP[1] in data and FULL_HEAP[0] in data:  # here, as the line itself may be over the limit of the log
            self.has_full_heap = True
        self._cutter.feed(data)
        if self._last is not None:
            self._last.feed(data)
        return len(data)

    def _emit(self, taken: Taken) -> None:
        line, owner = taken.line, taken.owner
        if self._printed is not None and self._printed.take(line):
            return
        level, record = _parsed(line)
        emitted = LogLine(
            self._function,
            self._instance,
            owner.invocation,
            record.text,
            "warning" if taken.is_notice else level,
            owner.traceparent,
            record.traceback,
            record.extra,
            self.release,
        )
        self._turns.sink(emitted)


def _parsed(line: bytes) -> tuple[str, _Record]:
    """The level of a line, empty if it has none, and its record."""
    level = _LEVELS.get(line[:MARK_BYTES], "")
    if level:
        return level, _record_of(line[MARK_BYTES:])
    return "", _Record(_on_a_terminal(line).decode(errors="backslashreplace"))


def _on_a_terminal(line: bytes) -> bytes:
    """The line as a terminal shows it in the end: a progress bar overwrites its line after each carriage return."""
    return line.rstrip(b"\r").rpartition(b"\r")[2] if b"\r" in line else line
