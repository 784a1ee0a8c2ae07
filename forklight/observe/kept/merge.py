"""Entries of the files and of a running server's memory, in one order and each once. Pure.

The files have the latest entries of all functions together, the memory the latest of each: neither has all of what the
other has. Of one server, numbers tell which entries are the same and which came first, whatever the clock did.
"""

from collections import deque
from collections.abc import Iterable, Iterator

from forklight.observe.entry import Entry
from forklight.observe.kept.lines import Kept

Numbered = tuple[int, Entry]
_NO_SERVER = -1.0


class Merge:
    """Feed what the files have, oldest first. Between the entries of two servers comes one that says so."""

    def __init__(self, started: float, held: Iterable[Numbered], last: int) -> None:
        """`held`: what this server, `started` then, has in memory, by number; `last`: its latest number.

        Entries of the files with a later number are left out: they came after this moment.
        """
        self._started = started
        self._held = deque(held)
        self._last = last
        self._server: float | None = None
        """The server that wrote the entry before."""

    def feed(self, found: Iterable[Kept]) -> list[Entry]:
        """Return what comes next."""
        out: list[Entry] = []
        for kept in found:
            if kept.started == self._started:
                if kept.number > self._last:
                    continue
                out += self._held_before(kept.number)
                if self._held and self._held[0][0] == kept.number:
                    self._held.popleft()
            out += self._mark(kept.started)
            out.append(kept.entry)
        return out

    def end(self) -> list[Entry]:
        """Return the rest of what is in memory, after the start of the present server."""
        rest = self._held_before(self._last + 1)
        return rest or (self._mark(self._started) if self._server is not None else [])

    def _held_before(self, number: int) -> list[Entry]:
        out: list[Entry] = []
        while self._held and self._held[0][0] < number:
            out += [*self._mark(self._started), self._held.popleft()[1]]
        return out

    def _mark(self, server: float) -> list[Entry]:
        before, self._server = self._server, server
        if before in (None, server):
            return []
        return [Entry(time=server, function="", started=True)]


class Tail:
    """The last `count` entries of what it is fed, and the starts of servers between them."""

    def __init__(self, count: int) -> None:
        self.entries: deque[Entry] = deque()
        self._most = count
        self._count = 0

    def feed(self, entries: Iterable[Entry]) -> None:
        """Take what comes next."""
        for entry in entries:
            self.entries.append(entry)
            self._count += not entry.started
            while self.entries and (self._count > self._most or self.entries[0].started):
                self._count -= not self.entries.popleft().started


def of_ended_servers(pieces: Iterable[Iterable[Kept]]) -> Iterator[Entry]:
    """Yield what the files have, if no server is running."""
    merge = Merge(_NO_SERVER, (), 0)
    for piece in pieces:
        yield from merge.feed(piece)


def of_latest_server(entries: Iterable[Entry]) -> list[Entry]:
    """Return the entries of the latest server that has any."""
    found: list[Entry] = []
    begins = False
    for entry in entries:
        if entry.started:
            begins = True
        else:
            found = [] if begins else found
            begins = False
            found.append(entry)
    return found
