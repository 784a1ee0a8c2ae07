"""Cuts the bytes of a log pipe into whole lines, each with its owner, with a limit per call. Pure.

Bytes wait here until they are taken as lines, a bounded number at a time: 64 KiB may be 65,536 lines, and handling all
of them at once would block every other event of the loop. The bytes of each call form a section of their own, so that
lines taken late keep their owner.
"""

from collections import deque
from typing import NamedTuple

from msgspec import Raw, Struct
from msgspec.json import decode, encode

from sandbox.guest._forklight.wire import LEVEL_MARK

LINE_BYTES = 64 * 1024
"""A longer line is cut, because a guest may never end its line."""
LINE_OVERHEAD_BYTES = 100
"""What each line counts against the limit of a call on top of its text, because an empty line has a cost, too."""
WAITING_BYTES = 4 * 1024 * 1024
"""How much may wait to be taken. The rest is dropped: the process writes faster than its lines can be logged."""


MARK_BYTES = 2
"""The length of the mark and the digit before a line with a level."""
_MARK = LEVEL_MARK.encode()
NO_EXTRA = Raw(b"{}")


class LogLine(Struct, frozen=True, gc=False):
    """One line of a function's log. `invocation` is None for what the process wrote between calls."""

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
    """The invocation that lines belong to; None for what a process writes between calls."""

    invocation: str | None = None
    traceparent: str | None = None


class Taken(NamedTuple):
    """One line as it was written, without its line end; or, with `is_notice`, our note about dropped lines."""

    owner: Owner
    line: bytes
    is_notice: bool = False


class _Section(Struct, gc=False):
    """The bytes of one owner. Those from `at` on have not been taken yet."""

    owner: Owner
    data: bytearray
    at: int = 0
    used: int = 0
    """How much of the limit is used."""
    dropped: int = 0
    is_closed: bool = False


class Cutter:
    """Cuts the bytes of one owner after another into lines. `limit_bytes` is the limit of each owner."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._last = _Section(Owner(), bytearray())
        self._sections = deque([self._last])
        self._waiting_bytes = 0
        self.has_more = False
        """Whether the last `take` left lines behind. Later calls of `feed` and `begin` do not change it."""

    def feed(self, data: bytes) -> None:
        """The current owner has written `data`."""
        if self._waiting_bytes + len(data) > WAITING_BYTES:
            self._last.dropped += len(data)
            return
        self._waiting_bytes += len(data)
        self._last.data += data

    def begin(self, owner: Owner) -> bool:
        """Change the owner, which ends a line that the previous owner left open.

        Returns whether the previous owner wrote anything.
        """
        last = self._last
        if last.at == len(last.data) and not last.used and not last.dropped and len(self._sections) == 1:
            last.owner = owner
            return False
        last.is_closed = True
        self._last = _Section(owner, bytearray())
        self._sections.append(self._last)
        return True

    def take(self, most: int) -> list[Taken]:
        """The next lines, oldest first, at most this many. Lines over an owner's limit are counted and dropped."""
        lines: list[Taken] = []
        while len(lines) < most:
            section = self._sections[0]
            line = self._next(section)
            if line is not None:
                lines.append(Taken(section.owner, line))
            elif not section.is_closed:
                self.has_more = False
                return lines
            else:
                self._sections.popleft()
                if section.dropped:
                    lines.append(Taken(section.owner, self._notice(section), is_notice=True))
        self.has_more = True
        return lines

    def _next(self, section: _Section) -> bytes | None:
        """The next line of the section within the limit, or None if there is none yet."""
        data, at = section.data, section.at
        end = data.find(b"\n", at)
        next_at = end + 1
        if end < 0:
            end = next_at = len(data)
            if end == at or not (section.is_closed or end - at > LINE_BYTES):
                self._forget(section)
                return None
        is_cut = end - at > LINE_BYTES
        if is_cut:
            end = next_at = at + LINE_BYTES
        section.used += end - at + LINE_OVERHEAD_BYTES
        if section.used > self._limit_bytes:
            self._drop_rest(section)
            return None
        line = bytes(data[at:end])
        if is_cut and line.startswith(_MARK):  # the rest of the line keeps its level
            next_at = end - MARK_BYTES
            data[next_at:end] = line[:MARK_BYTES]
        section.at = next_at
        return line

    def _drop_rest(self, section: _Section) -> None:
        """Drop the rest of the section, counting its bytes without cutting it into lines."""
        section.used = self._limit_bytes
        section.dropped += len(section.data) - section.at
        section.at = len(section.data)
        self._forget(section)

    def _forget(self, section: _Section) -> None:
        self._waiting_bytes -= section.at
        del section.data[: section.at]
        section.at = 0

    def _notice(self, section: _Section) -> bytes:
        allowed = f"a call may write {self._limit_bytes} (`log`), and each line counts {LINE_OVERHEAD_BYTES} more"
        return f"[forklight] {section.dropped} more bytes of log dropped: {allowed}".encode()
