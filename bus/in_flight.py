"""Counting what is in progress, and waiting until nothing is."""

import anyio


class InFlight:
    """Counts calls, connections or runs that have begun and not ended.

    Beginning and ending only change an integer; the event for waiters is created when somebody waits.
    """

    __slots__ = ("_none", "count")

    def __init__(self) -> None:
        self.count = 0
        self._none: anyio.Event | None = None

    def begin(self, count: int = 1) -> None:
        self.count += count

    def end(self) -> None:
        self.count -= 1
        if self._none is not None and not self.count:
            self._none.set()
            self._none = None

    async def wait_none(self) -> None:
        """Return at a moment when nothing is in flight, at once if nothing is now."""
        while self.count:
            if self._none is None:
                self._none = anyio.Event()
            await self._none.wait()
