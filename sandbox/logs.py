"""The log pipe of one guest process: whole lines, each attributed to an invocation, capped for each invocation.

An instance with one slot runs one invocation at a time, so all that arrives between its begin and its end is its own,
also from threads and child processes; what arrives in between belongs to the instance. Before an invocation ends the
pipe is drained, if the guest's reply says that it holds anything.

However much arrives, a turn of the event loop handles no more than `TURN_LINES` lines of all pipes together, and of
one pipe `PIPE_LINES`; the rest waits as bytes. So the lines of a call that writes more than that at once may be told
after the record of the call itself.
"""

import asyncio
import os
from collections import deque
from collections.abc import Callable

from msgspec import MsgspecError, Raw, Struct
from msgspec.json import Decoder, decode

from sandbox.guest._forklight.wire import LEVEL_MARK, LEVELS
from sandbox.log_lines import MARK_BYTES, NO_EXTRA, Cutter, LogLine, Owner, Taken

READ_BYTES = 64 * 1024
DRAIN_BYTES = 1024 * 1024
"""What a pipe can hold."""
_JSON = LEVEL_MARK.encode()
PIPE_LINES = 250
TURN_LINES = 500
"""A line takes 5 to 10 µs."""


class _Record(Struct, gc=False):
    """As a guest writes one that is more than a line of text (records.py)."""

    text: str
    traceback: str = ""
    extra: Raw = NO_EXTRA


_decode_record = Decoder(_Record).decode
_LEVELS = {f"{LEVEL_MARK}{digit}".encode(): name for digit, name in enumerate(LEVELS)}

LogSink = Callable[[LogLine], None]


def _record_of(line: bytes) -> _Record:
    """What follows a level: a text, or JSON behind another mark. What a guest has made up is a text."""
    if line.startswith(_JSON):
        try:
            record = _decode_record(line[1:])
            if isinstance(decode(record.extra), dict):
                return _Record(record.text, record.traceback, record.extra.copy())
        except (MsgspecError, UnicodeDecodeError, RecursionError):
            pass
    return _Record(line.decode(errors="backslashreplace"))


class LogTurns:
    """Shares the lines of one turn of the event loop among all pipes; those that have more wait for the next one."""

    def __init__(self, sink: LogSink) -> None:
        self.sink = sink
        self._left = TURN_LINES
        self._waiting: deque[LogPipe] = deque()
        self._armed = False

    def tell(self, pipe: "LogPipe") -> None:
        """Lines of this pipe may be there: hand them on, now or in the turns that follow."""
        if pipe.has_more:  # it is waiting already, behind others
            return
        self._spend(pipe)
        if not self._armed:
            self._armed = True
            asyncio.get_running_loop().call_soon(self._next_turn)

    def finish(self) -> None:
        """Hand on all that waits, at once: the loop will not go round any more."""
        while self._waiting:
            self._next_turn()

    def _next_turn(self) -> None:
        self._left = TURN_LINES
        self._armed = False
        for _ in range(len(self._waiting)):
            if self._left > 0:  # else who waits longest is the first of the next turn
                self._spend(self._waiting.popleft())
        if self._waiting:
            self._armed = True
            asyncio.get_running_loop().call_soon(self._next_turn)

    def _spend(self, pipe: "LogPipe") -> None:
        self._left -= pipe.hand_on(min(PIPE_LINES, self._left))
        if pipe.has_more:
            self._waiting.append(pipe)


class LogPipe:
    """Reads the pipe as it fills and hands lines on; what an invocation writes beyond `limit_bytes` is dropped."""

    def __init__(self, fd: int, function: str, instance: str, limit_bytes: int, turns: LogTurns) -> None:
        self._fd = fd
        self._function = function
        self._instance = instance
        self._turns = turns
        self._cutter = Cutter(limit_bytes)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(fd, self._readable)

    def begin(self, invocation: str, traceparent: str | None = None) -> None:
        """From here on, what is written belongs to this invocation."""
        self._belongs_to(Owner(invocation, traceparent))

    def end(self, *, drain: bool) -> None:
        """The invocation has ended; with `drain`, what the pipe still holds is its own."""
        if drain:
            self.drain()
        self._belongs_to(Owner())

    @property
    def has_more(self) -> bool:
        """Whether lines wait for the next turn."""
        return self._cutter.has_more

    def hand_on(self, most: int) -> int:
        """Give at most this many lines to the sink; how many they were."""
        taken = self._cutter.take(most)
        for line in taken:
            self._tell(line)
        return len(taken)

    def close(self) -> None:
        """Read the rest and close. No reader of a descriptor may outlive it."""
        self._loop.remove_reader(self._fd)
        self.drain()
        self._belongs_to(Owner())
        os.close(self._fd)

    def _belongs_to(self, owner: Owner) -> None:
        if self._cutter.begin(owner):
            self._turns.tell(self)

    def drain(self) -> None:
        """Read what is there now, at most a pipe's content: a guest that writes without pause must not hold us."""
        for _ in range(DRAIN_BYTES // READ_BYTES):
            if not self._read():
                break
        self._turns.tell(self)

    def _readable(self) -> None:
        if not self.has_more and self._read():
            self._turns.tell(self)

    def _read(self) -> bool:
        """Whether there was anything."""
        try:
            data = os.read(self._fd, READ_BYTES)
        except BlockingIOError:
            return False
        if not data:
            self._loop.remove_reader(self._fd)  # every writer is gone; the descriptor itself is closed by its owner
            return False
        self._cutter.feed(data)
        return True

    def _tell(self, taken: Taken) -> None:
        line, owner = taken.line, taken.owner
        level = _LEVELS.get(line[:MARK_BYTES], "")
        if level:
            record = _record_of(line[MARK_BYTES:])
        else:
            level = "warning" if taken.is_notice else ""
            record = _Record(_on_a_terminal(line).decode(errors="backslashreplace"))
        told = LogLine(
            self._function,
            self._instance,
            owner.invocation,
            record.text,
            level,
            owner.traceparent,
            record.traceback,
            record.extra,
        )
        self._turns.sink(told)


def _on_a_terminal(line: bytes) -> bytes:
    """What a terminal shows in the end: a progress bar begins its line again and again, with a carriage return."""
    return line.rstrip(b"\r").rpartition(b"\r")[2] if b"\r" in line else line
