"""What follows a switch and nobody waits for: piece by piece, so that requests get their turn in between."""

import logging
from collections import deque
from collections.abc import Callable

import anyio
import anyio.abc

log = logging.getLogger(__name__)

PAUSE_S = 0.002
"""Before each piece: time for the answer to whoever asked for the switch, and for requests."""


class Afterwards:
    """Runs pieces of work one after the other, in the order in which they were added, in a task of the group."""

    def __init__(self, tasks: anyio.abc.TaskGroup) -> None:
        self._tasks = tasks
        self._pieces: deque[Callable[[], None]] = deque()
        self._is_running = False

    def add(self, piece: Callable[[], None]) -> None:
        """Run this, too, in a later turn of the event loop. What has not run when the task group ends never does."""
        self._pieces.append(piece)
        if not self._is_running:
            self._is_running = True
            self._tasks.start_soon(self._run)

    async def _run(self) -> None:
        try:
            while self._pieces:
                await anyio.sleep(PAUSE_S)
                self._run_next()
        finally:
            self._is_running = False

    def _run_next(self) -> None:
        piece = self._pieces.popleft()
        try:
            piece()
        except Exception:  # the switch is done, and the other functions need theirs
            log.exception("what follows a switch failed")
