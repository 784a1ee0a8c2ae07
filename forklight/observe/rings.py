"""The latest entries of each function, for `forklight logs` and `why`, bounded in memory. Pure."""

from collections import deque
from operator import attrgetter, itemgetter

from forklight.observe.entry import Entry, Noted, Selection

RING_BYTES = 1024 * 1024
"""Bound per function."""
RINGS_BYTES = 64 * 1024 * 1024
"""Bound for all functions. Beyond it the largest ring loses half, so that quiet functions keep theirs."""


class _Ring:
    """The latest entries of one function, oldest first."""

    __slots__ = ("entries", "size_bytes")

    def __init__(self) -> None:
        self.entries: deque[Noted] = deque()
        self.size_bytes = 0


class Rings:
    """One ring per function."""

    def __init__(self, ring_bytes: int = RING_BYTES, rings_bytes: int = RINGS_BYTES) -> None:
        self._ring_bytes = ring_bytes
        self._rings_bytes = rings_bytes
        self._rings: dict[str, _Ring] = {}
        self.size_bytes = 0
        """Of all rings."""

    def add(self, noted: Noted) -> None:
        """Add an entry; the oldest ones make room for it."""
        _, entry, size = noted
        ring = self._rings.get(entry.function)
        if ring is None:
            ring = self._rings[entry.function] = _Ring()
        ring.entries.append(noted)
        ring.size_bytes += size
        self.size_bytes += size
        if ring.size_bytes > self._ring_bytes:
            self._shrink(ring, self._ring_bytes)
        if self.size_bytes > self._rings_bytes:
            largest = max(self._rings.values(), key=attrgetter("size_bytes"))
            self._shrink(largest, largest.size_bytes // 2)

    def numbered(self, selection: Selection) -> list[tuple[int, Entry]]:
        """Return the kept entries of a selection with their numbers, oldest first."""
        names = self._rings if selection.function is None else {selection.function} & self._rings.keys()
        all_noted = (noted for name in names for noted in self._rings[name].entries)
        return sorted(((number, entry) for number, entry, _ in all_noted if selection.has(entry)), key=itemgetter(0))

    def _shrink(self, ring: _Ring, most_bytes: int) -> None:
        before = size = ring.size_bytes
        while size > most_bytes:
            size -= ring.entries.popleft()[2]
        ring.size_bytes = size
        self.size_bytes += size - before
