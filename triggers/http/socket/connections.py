"""The open connections of one listener, and the limits that they share."""

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from bus.in_flight import InFlight
from triggers.http.answers import Answer
from triggers.http.settings import HttpSettings
from triggers.http.socket.budget import Budget
from triggers.http.socket.errands import Errand
from triggers.http.stamps import Stamps

_SEEN_OFF = 128
"""How many connections beyond `max_connections` stay open until their client has read the 503; more are cut off."""


class Member(Protocol):
    """What the listener asks of each of its connections."""

    def check_deadline(self, now_s: float) -> None:
        """End the phase if it is overdue."""

    def retire(self) -> None:
        """Close as soon as no request is in flight."""

    def cut(self) -> None:
        """Close now; a client that waits for an outcome gets a 503 first."""

    def abort(self) -> None:
        """Close at once, without flushing."""


One = TypeVar("One", bound=Member)


class Connections(Generic[One]):
    """While `draining`, every answer is the last of its connection; once `stopped`, every connection has been cut."""

    def __init__(
        self,
        settings: HttpSettings,
        stamps: Stamps,
        now_s: Callable[[], float],
        turn_away: Callable[[str, Answer], Answer],
        *,
        start: Callable[[One], None],
        serve: Callable[[One], Errand | None],
    ) -> None:
        """`now_s` is the event loop's clock. `turn_away` records the answer to a client that is not admitted, and adds
        an id to the answer. `start` starts the task of a connection that is admitted. `serve` takes its next request,
        and returns what the task has to do for it; it never raises.
        """
        self.settings = settings
        self.stamps = stamps
        self.now_s = now_s
        self.draining = False
        self.stopped = False
        self.turn_away = turn_away
        self.start = start
        self.serve = serve
        self.bodies = Budget(settings.max_bodies_bytes, setting="max_bodies", what="request bodies")
        self.unread = Budget(settings.max_unread_bytes, setting="max_unread", what="answers that clients have not read")
        self._live: set[Member] = set()
        self._seen_off: set[Member] = set()
        self._open = InFlight()

    def __repr__(self) -> str:
        state = ", stopped" if self.stopped else ", draining" if self.draining else ""
        return f"<Connections {len(self._live)} open, {len(self._seen_off)} turned away{state}>"

    def __len__(self) -> int:
        return len(self._live)

    def admit(self, connection: Member) -> bool:
        """Count the connection in; return False if the listener is full."""
        if len(self._live) >= self.settings.max_connections:
            return False
        self._live.add(connection)
        self._open.begin()
        return True

    def see_off(self, connection: Member) -> bool:
        """Return whether a connection that was not admitted may stay open until its client has read the 503."""
        if len(self._seen_off) >= _SEEN_OFF:
            return False
        self._seen_off.add(connection)
        self._open.begin()
        return True

    def forget(self, connection: Member) -> None:
        for connections in (self._live, self._seen_off):
            if connection in connections:
                connections.remove(connection)
                self._open.end()

    async def wait_empty(self) -> None:
        """Return when no connection is open. The listener must be closed by then."""
        await self._open.wait_none()

    def sweep(self) -> None:
        now_s = self.now_s()
        for connection in self._all():
            connection.check_deadline(now_s)

    def retire(self) -> None:
        for connection in self._all():
            connection.retire()

    def cut(self) -> None:
        self.stopped = True
        for connection in self._all():
            connection.cut()

    def abort(self) -> None:
        for connection in self._all():
            connection.abort()

    def _all(self) -> tuple[Member, ...]:
        return (*self._live, *self._seen_off)
