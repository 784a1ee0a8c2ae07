"""The latest entries of each function, for `forklight logs` and `why`, bounded in memory. Pure."""

from collections import deque

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
        self._sizes: dict[str, int] = {}
        self.size_bytes = 0
        """Of all rings."""

    def add(self, entry: Entry, size: int) -> None:
        """Add an entry of `size` bytes; the oldest ones make room for it."""
        name = entry.function
        self._rings.setdefault(name, deque()).append(entry)
        self._sizes[name] = self._sizes.get(name, 0) + size
        self.size_bytes += size
        self._shrink(name, self._ring_bytes)
        if self.size_bytes > self._rings_bytes:
            largest = max(self._sizes, key=self._sizes.__getitem__)
            self._shrink(largest, self._sizes[largest] // 2)

    def latest(self, selection: Selection) -> list[Entry]:
        """Return the kept entries of a selection, oldest first."""
        name = selection.function
        rings = self._rings.values() if name is None else [self._rings.get(name, ())]
        found = [entry for ring in rings for entry in ring if selection.has(entry)]
        return found if name is not None else sorted(found, key=lambda entry: entry.time)

    def _shrink(self, name: str, most_bytes: int) -> None:
        ring, size = self._rings[name], self._sizes[name]
        while size > most_bytes:
            size -= size_bytes(ring.popleft())
        self.size_bytes += size - self._sizes[name]
        self._sizes[name] = size
