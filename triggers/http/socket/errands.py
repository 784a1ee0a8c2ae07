"""The task of a connection, as its other side sees it: it carries out what has to wait, one errand at a time."""

from asyncio import AbstractEventLoop, Future
from collections.abc import Awaitable, Callable

from anyio import CancelScope

from triggers.http.answers import Answer

Errand = Callable[[], Awaitable[Answer]]
"""What remains to be done for an answer."""


class Errands:
    """The task runs in `scope`. It waits for one thing at a time, so one waiter is enough."""

    __slots__ = ("_errand", "_loop", "_waiter", "scope")

    def __init__(self, loop: AbstractEventLoop) -> None:
        self._loop = loop
        self._errand: Errand | None = None
        self._waiter: Future[None] | None = None
        # Shielded: cancelling the server must not end connections, because `drain` does, with an answer to each client.
        self.scope = CancelScope(shield=True)

    @property
    def has_one(self) -> bool:
        """Whether `take` would return one."""
        return self._errand is not None

    def give(self, errand: Errand) -> None:
        """Have the task carry this out, once it has finished the one before."""
        self._errand = errand
        self.wake()

    def take(self) -> Errand:
        errand, self._errand = self._errand, None
        assert errand is not None
        return errand

    async def wait(self) -> None:
        """Wait for `wake`."""
        self._waiter = self._loop.create_future()
        await self._waiter

    def wake(self) -> None:
        """End the task's wait, if it waits."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
