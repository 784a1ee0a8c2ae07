"""The latest entries of each function, for `forklight logs` and `why`, bounded in memory. Pure."""

from collections import deque
from operator import itemgetter

from forklight.observe.entry import Entry, Selection, size_bytes

RING_BYTES = 1024 * 1024
"""Bound per function."""
RINGS_BYTES = 64 * 1024 * 1024
"""Bound for all functions. Beyond it the largest ring loses half, so that quiet functions keep theirs."""


class Rings:
    """One ring per function."""

    def __init__(self, ring_bytes: int = RING_BYTES, rings_bytes: int = RINGS_BYTES) -> None:
        self._ring_bytes = ring_bytes
        self._rings_bytes = rings_bytes
        self._rings: dict[str, deque[Entry]] = {}
        self._numbers: dict[str, deque[int]] = {}
        """Of the entries, in the same order: apart from them, because an entry is also what is written and sent."""
        self.count = 0
        """Of all entries so far: the number of the latest."""
        self._sizes: dict[str, int] = {}
        self.size_bytes = 0
        """Of all rings."""

    def add(self, entry: Entry, size: int) -> None:
        """Add an entry of `size` bytes; the oldest ones make room for it."""
        name = entry.function
        self.count += 1
        if name not in self._rings:
            self._rings[name], self._numbers[name] = deque(), deque()
        self._rings[name].append(entry)
        self._numbers[name].append(self.count)
        self._sizes[name] = self._sizes.get(name, 0) + size
        self.size_bytes += size
        self._shrink(name, self._ring_bytes)
        if self.size_bytes > self._rings_bytes:
            largest = max(self._sizes, key=self._sizes.__getitem__)
            self._shrink(largest, self._sizes[largest] // 2)

    def numbered(self, selection: Selection) -> list[tuple[int, Entry]]:
        """Return the kept entries of a selection with their numbers, oldest first."""
        names = self._rings if selection.function is None else {selection.function} & self._rings.keys()
        pairs = (pair for name in names for pair in zip(self._numbers[name], self._rings[name], strict=True))
        return sorted((pair for pair in pairs if selection.has(pair[1])), key=itemgetter(0))

    def _shrink(self, name: str, most_bytes: int) -> None:
        ring, numbers, size = self._rings[name], self._numbers[name], self._sizes[name]
        while size > most_bytes:
            size -= size_bytes(ring.popleft())
            numbers.popleft()
        self.size_bytes += size - self._sizes[name]
        self._sizes[name] = size
