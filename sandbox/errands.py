"""Blocking work for a thread, so that the event loop does not wait for a file system."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

import anyio
import anyio.abc
import anyio.to_thread

T = TypeVar("T")


class Errands:
    """One after the other in one thread. What is asked for meanwhile is done next, all together."""

    def __init__(self, tasks: anyio.abc.TaskGroup) -> None:
        self._tasks = tasks
        self._waiting: list[Callable[[], Callable[[], object]]] = []
        self._is_running = False

    def run(self, work: Callable[[], T], done: Callable[[T], object]) -> None:
        """Call `work` in the thread, then `done` with its result in a turn of the event loop. Neither may raise.

        They run even if the task group is cancelled meanwhile.
        """

        def errand() -> Callable[[], object]:
            result = work()
            return lambda: done(result)

        self._waiting.append(errand)
        if not self._is_running:
            self._is_running = True
            self._tasks.start_soon(self._run)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        with anyio.CancelScope(shield=True):
            while self._waiting:
                errands, self._waiting = self._waiting, []
                for finish in await anyio.to_thread.run_sync(_all, errands):
                    loop.call_soon(finish)
        self._is_running = False


def _all(errands: list[Callable[[], Callable[[], object]]]) -> list[Callable[[], object]]:
    return [errand() for errand in errands]
