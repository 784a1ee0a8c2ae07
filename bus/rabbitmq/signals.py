"""Which event wakes whom: the consumer's task, a caller of `next`, or a caller without a task."""

import asyncio
from collections.abc import Callable

import anyio

_TRAFFIC_S = 0.01
"""How long messages and free places may go unnoticed by `lanes`, which has nothing to do on almost all of them."""


class Signals:
    """The signals of one consumer."""

    def __init__(self) -> None:
        self.changed = anyio.Event()
        """Wakes the consumer's task. Replaced whenever it is set."""
        self.on_message: Callable[[], None] | None = None
        self._something = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._traffic: asyncio.TimerHandle | None = None
        self._has_begun = False

    async def wait_something(self) -> None:
        """Wait until there may be a message or a free place."""
        self._something.clear()
        await self._something.wait()

    def message(self) -> None:
        """A message has come."""
        self.free()
        if not self._has_begun:  # `wait_consuming` waits for no more than this
            self._has_begun = True
            self._notice()
        if self.on_message is not None:
            self.on_message()

    def free(self) -> None:
        """A place is free."""
        self._something.set()
        if self._traffic is None:
            self._traffic = self._loop.call_later(_TRAFFIC_S, self._look)

    def change(self) -> None:
        """Anything else has changed."""
        self._notice()
        self._something.set()
        if self.on_message is not None:
            self.on_message()

    def _look(self) -> None:
        self._traffic = None
        self._notice()

    def _notice(self) -> None:
        self.changed.set()
        self.changed = anyio.Event()
