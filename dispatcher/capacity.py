"""Wakes the consumers that stopped because a pool was full."""

from collections.abc import Callable


class Capacity:
    """Watches the room of one pool; `room` returns how many more events could run now."""

    def __init__(self, room: Callable[[], int]) -> None:
        self._room = room
        self.callbacks: list[Callable[[], None]] = []
        self.has_room = True
        """Whether there was room at the last look."""

    def watch(self, callback: Callable[[], None]) -> None:
        """Call `callback` each time the room rises from 0."""
        self.callbacks.append(callback)
        self.has_room = self._room() > 0

    def look(self) -> None:
        """The room may have changed."""
        if not self.callbacks:
            return
        had, self.has_room = self.has_room, self._room() > 0
        if self.has_room and not had:
            for callback in self.callbacks:
                callback()
