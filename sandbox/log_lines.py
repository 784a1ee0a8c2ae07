"""Cuts the bytes of a log pipe into whole lines, each with its owner, with a limit per call. Pure.

Theory of operation. Bytes wait here until they are taken as lines, a bounded number at a time: 64 KiB may be 65,536
lines, and handling all of them at once would block every other event of the loop. Calls begin and end meanwhile. Such
a change is noted with its place among the bytes, and takes effect when all lines before it are taken. So a line that is
taken late still has the owner that it had when it was written.

A line that begins with a call mark belongs to that call, one without to the open call if there is only one, and every
other to the process. A call that is not open has no lines: they are the process's, too. A change that would give an
unfinished line to another owner ends the line.
"""

from collections import deque
from typing import NamedTuple

from msgspec import Raw, Struct
from msgspec.json import decode, encode

from sandbox.guest._forklight.wire import CALL_MARK, LEVEL_MARK

LINE_BYTES = 64 * 1024
"""A longer line is cut, because a guest may never end its line."""
LINE_OVERHEAD_BYTES = 100
"""What each line counts against the limit of a call on top of its text, because an empty line has a cost, too."""
WAITING_BYTES = 4 * 1024 * 1024
"""How much may wait to be taken. The rest is dropped: the process writes faster than its lines can be logged."""


MARK_BYTES = 2
"""The length of the mark and the digit before a line with a level."""
_LEVEL_MARK = LEVEL_MARK.encode()
_CALL_MARK = CALL_MARK.encode()
_CALL_MARK_BYTES = 21
"""The longest call mark: a number of 19 digits between two marks."""
NO_EXTRA = Raw(b"{}")


class LogLine(Struct, frozen=True, gc=False):
    """One line of a function's log. `invocation` is None for what the process wrote outside calls."""

    function: str
    instance: str
    invocation: str | None
    text: str
    level: str = ""
    """`debug`, `info`, `warning`, `error` or `critical` for a record of `logging`; empty for everything else"""
    traceparent: str | None = None
    """of the invocation"""
    traceback: str = ""
    extra: Raw = NO_EXTRA
    """the `extra` of a record of `logging`, as JSON"""
    release: int = 0
    """the number of the release that the process runs; 0 if its function was not deployed"""

    @property
    def whole(self) -> str:
        """The text, the `extra` as `name=value`, and the traceback, for people; possibly several lines."""
        return whole(self.text, self.extra, self.traceback)


def whole(text: str, extra: Raw, traceback: str) -> str:
    """The text, `extra` and traceback of a record as one text."""
    given = [text] if extra == NO_EXTRA else [text, *map(_pair, decode(extra).items())]
    return "\n".join([" ".join(given), *([traceback.rstrip("\n")] if traceback else [])])


def _pair(item: tuple[str, object]) -> str:
    name, value = item
    return f"{name}={value if isinstance(value, str) else encode(value).decode()}"


class Owner(NamedTuple):
    """The invocation that lines belong to; None for what a process writes outside calls."""

    invocation: str | None = None
    traceparent: str | None = None


class Taken(NamedTuple):
    """One line, without its line end and call mark; or, with `is_notice`, our note about dropped lines."""

    owner: Owner
    line: bytes
    is_notice: bool = False


class _Account(Struct, gc=False):
    """An owner, how much of the limit it has used, and how much of what it wrote was dropped."""

    invocation: str | None = None
    traceparent: str | None = None
    used: int = 0
    dropped: int = 0

    @property
    def owner(self) -> Owner:
        return Owner(self.invocation, self.traceparent)


class _Begin(NamedTuple):
    at: int
    i: int
    account: _Account


class _End(NamedTuple):
    at: int
    i: int


class _Break(NamedTuple):
    """The line ends here: bytes were lost, or these are the last ones."""

    at: int
    lost: int
    is_last: bool = False


_Change = _Begin | _End | _Break


class Cutter:
    """Cuts bytes into the lines of the calls that are open. `limit_bytes` is the limit of each call.

    `has_marks`: there may be several calls at once, and lines may have call marks; else at most one call is open.
    """

    def __init__(self, limit_bytes: int, *, has_marks: bool = False) -> None:
        self._limit_bytes = limit_bytes
        self._has_marks = has_marks
        self._data = bytearray()
        self._at = 0
        """The start of the next line in `_data`."""
        self._before = 0
        """How many bytes were written before those in `_data`."""
        self._open: dict[int, _Account] = {}
        """The calls that are open at `_at`."""
        self._process = self._sole = _Account()
        """`_sole` is the owner of lines without a mark: the one open call, or else the process."""
        self._changes: deque[_Change] = deque()
        """Those behind `_at`, in order. Each is at a number of bytes since the beginning."""
        self.has_more = False
        """Whether the last `take` left lines behind. Other methods do not change it."""

    def feed(self, data: bytes) -> None:
        """The process has written `data`."""
        if len(self._data) + len(data) <= WAITING_BYTES:
            self._data += data
            return
        lost = len(data)
        last = self._changes[-1] if self._changes else None
        if isinstance(last, _Break) and last.at == self._written:
            self._changes.pop()
            lost += last.lost
        self._changes.append(_Break(self._written, lost))

    def begin(self, i: int, invocation: str, traceparent: str | None = None) -> bool:
        """Call `i` begins here, for this invocation. Returns whether a `take` may find a line because of that."""
        account = _Account(invocation, traceparent)
        if self._data or self._changes or self._process.dropped:
            self._changes.append(_Begin(self._written, i, account))
            return True
        if self._process.used:
            self._renew_process()
        self._sole = self._process if self._open else account
        self._open[i] = account
        return False

    def end(self, i: int) -> bool:
        """Call `i` ends here. Returns the same."""
        if self._data or self._changes or self._open[i].dropped:
            self._changes.append(_End(self._written, i))
            return True
        del self._open[i]
        self._sole = self._find_sole() if self._open else self._process
        return False

    def close(self) -> None:
        """Nothing follows."""
        self._changes.append(_Break(self._written, 0, is_last=True))

    @property
    def _written(self) -> int:
        return self._before + len(self._data)

    def take(self, most: int) -> list[Taken]:
        """The next lines, oldest first, at most this many. Lines over a call's limit are counted and dropped."""
        lines: list[Taken] = []
        looked = 0
        change, end = self._next_change()
        while looked < most:
            if self._at < end and self._take_line(end, change, lines):
                looked += 1
            elif change is None:
                self.has_more = False
                break
            else:
                looked += self._make(self._changes.popleft(), lines)
                change, end = self._next_change()
        else:
            self.has_more = True
        del self._data[: self._at]
        self._before += self._at
        self._at = 0
        return lines

    def _next_change(self) -> tuple[_Change | None, int]:
        """The next change, if there is one, and where in `_data` it is, or the end."""
        if not self._changes:
            return None, len(self._data)
        change = self._changes[0]
        return change, change.at - self._before

    def _take_line(self, end: int, change: _Change | None, lines: list[Taken]) -> bool:
        """Take or drop the next line, which ends before `end`; returns whether there was one."""
        data, at = self._data, self._at
        stop = data.find(b"\n", at, end)
        next_at = stop + 1
        if stop < 0:
            stop = next_at = end
        mark, account = self._owner(at, stop) if self._has_marks else (0, self._sole)
        is_cut = stop - at > LINE_BYTES
        if is_cut:
            stop = at + LINE_BYTES
        elif next_at == stop and not (change is not None and self._changes_hands(change, mark, at, stop)):
            return False  # the line is not complete
        line = bytes(data[at + mark : stop])
        if is_cut:
            next_at = stop - self._repeat_marks(at, mark, stop)
        account.used += stop - at - mark + LINE_OVERHEAD_BYTES
        if account.used <= self._limit_bytes:
            lines.append(Taken(account.owner, line))
        else:
            account.used = self._limit_bytes
            next_at = next_at if self._has_marks else end  # without marks, all of it is the same call's
            account.dropped += next_at - at
        self._at = next_at
        return True

    def _owner(self, at: int, stop: int) -> tuple[int, _Account]:
        """The length of the call mark at the start of a line, 0 if it has none, and the owner of the line."""
        if self._data[at : at + 1] == _CALL_MARK:
            close = self._data.find(_CALL_MARK, at + 1, min(stop, at + _CALL_MARK_BYTES))
            number = self._data[at + 1 : max(close, 0)]
            if number.isdigit():
                return close + 1 - at, self._open.get(int(number), self._process)
        return 0, self._sole

    def _find_sole(self) -> _Account:
        return next(iter(self._open.values())) if len(self._open) == 1 else self._process

    def _repeat_marks(self, at: int, mark: int, stop: int) -> int:
        """Write the marks of the line at `at` before `stop`, where it is cut; returns their length.

        The rest of the line then has the same call and level.
        """
        data = self._data
        length = mark + (MARK_BYTES if data.startswith(_LEVEL_MARK, at + mark) else 0)
        data[stop - length : stop] = data[at : at + length]
        return length

    def _changes_hands(self, change: _Change, mark: int, at: int, end: int) -> bool:
        """Whether the change ends an unfinished line, because what follows has another owner."""
        if isinstance(change, _Break):
            return True
        if mark:
            return isinstance(change, _End) and self._owner(at, end)[1] is self._open[change.i]
        begun = self._data[at:end]
        if self._has_marks and begun[:1] == _CALL_MARK and (begun[1:] or b"0").isdigit():
            return False  # the rest of the mark is still to come
        after = len(self._open) + (1 if isinstance(change, _Begin) else -1)
        return min(len(self._open), after) < 2  # else it is the process's before and after

    def _make(self, change: _Change, lines: list[Taken]) -> bool:
        """Let the change take effect; returns whether that brought a note about what was dropped."""
        closed: _Account | None = None
        match change:
            case _Begin():
                self._open[change.i] = change.account
                closed = self._renew_process()
            case _End():
                closed = self._open.pop(change.i)
            case _Break():
                self._sole.dropped += change.lost
                closed = self._renew_process() if change.is_last else None
        self._sole = self._find_sole()
        if closed is None or not closed.dropped:
            return False
        lines.append(Taken(closed.owner, self._notice(closed), is_notice=True))
        return True

    def _renew_process(self) -> _Account:
        """What a process writes outside calls has the limit anew with each call that begins."""
        before, self._process = self._process, _Account()
        return before

    def _notice(self, account: _Account) -> bytes:
        allowed = f"a call may write {self._limit_bytes} (`log`), and each line counts {LINE_OVERHEAD_BYTES} more"
        return f"[forklight] {account.dropped} more bytes of log dropped: {allowed}".encode()
