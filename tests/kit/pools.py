"""The pool of a function that a test puts behind the bus itself."""

from collections.abc import Callable


class Roomy:
    """A pool that always has the same room, and needs to make nothing ready."""

    def __init__(self, room: int = 1) -> None:
        self._room = room

    def capacity(self) -> int:
        return self._room

    def on_capacity(self, callback: Callable[[], None]) -> None:
        """It never rises from 0."""

    def expect(self, at_ns: int) -> None:
        """An instance is always ready."""
