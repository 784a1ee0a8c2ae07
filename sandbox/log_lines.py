"""The bytes of a log pipe become lines: whole, each with its owner, capped for each call. Pure.

What was read waits here as bytes until somebody takes it as lines, a bounded number at a time: 64 KiB may be 65,536
lines, and to handle them all at once would stop every other event of the loop. Each call's bytes are a section of
their own, so lines that are taken late still have their owner.
"""

from collections import deque
from typing import NamedTuple

from msgspec import Raw, Struct
from msgspec.json import decode, encode

from sandbox.guest._forklight.wire import LEVEL_MARK

LINE_BYTES = 64 * 1024
"""A line longer than this is cut: nothing is kept without bound for a guest that never ends its line."""
LINE_OVERHEAD_BYTES = 100
"""What each line counts against the limit of a call on top of its text: an empty line costs us something too."""
WAITING_BYTES = 4 * 1024 * 1024
"""Read and not taken yet. What comes on top is dropped: its process ends calls faster than their lines are told."""


MARK_BYTES = 2
"""Of the mark and the digit before a line that has a level."""
_MARK = LEVEL_MARK.encode()
NO_EXTRA = Raw(b"{}")


class LogLine(Struct, frozen=True, gc=False):
    """One line of a function's log. `invocation` is None for what the process wrote between calls."""

    function: str
    instance: str
    invocation: str | None
    text: str
    level: str = ""
    """`debug`, `info`, `warning`, `error` or `critical` of what came by `logging`; empty for everything else"""
    traceparent: str | None = None
    """of the invocation"""
    traceback: str = ""
    extra: Raw = NO_EXTRA
    """JSON: what a record of `logging` was given as `extra`"""

    @property
    def whole(self) -> str:
        """All of it for people: text, `name=value` of what it was given, traceback; several lines perhaps."""
        return whole(self.text, self.extra, self.traceback)


def whole(text: str, extra: Raw, traceback: str) -> str:
    """The parts of a record as one text."""
    given = [text] if extra == NO_EXTRA else [text, *map(_pair, decode(extra).items())]
    return "\n".join([" ".join(given), *([traceback.rstrip("\n")] if traceback else [])])


def _pair(item: tuple[str, object]) -> str:
    name, value = item
    return f"{name}={value if isinstance(value, str) else encode(value).decode()}"


class Owner(NamedTuple):
    """Whose lines they are. `invocation` is None for what a process writes between calls."""

    invocation: str | None = None
    traceparent: str | None = None


class Taken(NamedTuple):
    """One line as it was written, without its end; or `is_notice`, what we say of lines that were dropped."""

    owner: Owner
    line: bytes
    is_notice: bool = False


class _Section(Struct, gc=False):
    """What one owner wrote and nobody took yet: `data` from `at` on."""

    owner: Owner
    data: bytearray
    at: int = 0
    used: int = 0
    """Of the limit."""
    dropped: int = 0
    is_closed: bool = False


class Cutter:
    """Cuts what `feed` gives it, of one owner after another, into lines. `limit_bytes` is what each owner may write."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._last = _Section(Owner(), bytearray())
        self._sections = deque([self._last])
        self._waiting_bytes = 0
        self.has_more = False
        """Whether the last `take` left lines behind. What `feed` and `begin` bring is not counted yet."""

    def feed(self, data: bytes) -> None:
        """The present owner has written this."""
        if self._waiting_bytes + len(data) > WAITING_BYTES:
            self._last.dropped += len(data)
            return
        self._waiting_bytes += len(data)
        self._last.data += data

    def begin(self, owner: Owner) -> bool:
        """From here on it is another owner's; the line that the one before has not ended ends here.

        Whether the one before has written anything.
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
        """The next lines, oldest first, at most this many. What is over an owner's limit is counted and dropped."""
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
        """Its next line within the limit; None if there is none, or none yet."""
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
        if is_cut and line.startswith(_MARK):  # what follows has its level
            next_at = end - MARK_BYTES
            data[next_at:end] = line[:MARK_BYTES]
        section.at = next_at
        return line

    def _drop_rest(self, section: _Section) -> None:
        """Nothing of it is told any more: count its bytes, without looking at each line."""
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
