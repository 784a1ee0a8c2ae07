"""What is going on at one time, and a wait for the moment when nothing is."""

import anyio


class InFlight:
    """Counts calls, connections or runs between their begin and their end.

    A plain integer bumped in place: the event that waiters need is made only if somebody waits.
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
