"""Every open connection of one listener: how many there may be, who is overdue, and when the last one is gone."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import anyio

from triggers.http.answers import Answer
from triggers.http.settings import HttpSettings
from triggers.http.stamps import Stamps

if TYPE_CHECKING:
    from triggers.http.connection import Connection


class Connections:
    """While `draining`, every answer is the last one of its connection; once `stopped`, all of them were cut."""

    def __init__(self, settings: HttpSettings, stamps: Stamps, now_s: Callable[[], float]) -> None:
        """`now_s` is the event loop's clock."""
        self.settings = settings
        self.stamps = stamps
        self.now_s = now_s
        self.draining = False
        self.stopped = False
        self.turn_away: Callable[[str, Answer], Answer] = lambda _client, answer: answer
        """Records the answer to a client whose connection is not admitted, and gives it an id."""
        self._live: set[Connection] = set()
        self._empty = anyio.Event()

    def __len__(self) -> int:
        return len(self._live)

    def admit(self, connection: "Connection") -> bool:
        """False: the listener is full, and the connection is not one of its own."""
        if len(self._live) >= self.settings.max_connections:
            return False
        self._live.add(connection)
        return True

    def forget(self, connection: "Connection") -> None:
        self._live.discard(connection)
        if not self._live:
            self._empty.set()

    async def wait_empty(self) -> None:
        """Returns when no connection is open; new ones must not come any more."""
        while self._live:
            if self._empty.is_set():
                self._empty = anyio.Event()
            await self._empty.wait()

    def sweep(self) -> None:
        """Ends what is overdue."""
        now_s = self.now_s()
        for connection in tuple(self._live):
            connection.check_deadline(now_s)

    def close_idle(self) -> None:
        for connection in tuple(self._live):
            connection.close_if_idle()

    def cut(self) -> None:
        """Ends every connection; a client that still waits for its outcome gets an answer first."""
        self.stopped = True
        for connection in tuple(self._live):
            connection.cut()

    def abort(self) -> None:
        """Ends every connection at once."""
        for connection in tuple(self._live):
            connection.abort()
