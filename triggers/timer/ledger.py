"""Storing the state of all timers: one writer stores many changes in one transaction."""

import asyncio
from collections.abc import Sequence

import anyio

from bus.store import Facts
from triggers.timer.planner import Step, remembered_text, stepped
from triggers.timer.work import TimerWork

PREFIX = "timer/"
GATHER_S = 0.02
"""How long changes are gathered: a commit costs a sync of the disk, however much it stores."""


class Ledger:
    """Runs call `changed` and `wait_stored`; one task calls `store`."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._changed: dict[str, TimerWork] = {}
        self._waiting: list[anyio.Event] = []
        self._writing = anyio.Lock()
        self.wake = anyio.Event()
        """Set when there is something to store."""

    async def recall(self) -> dict[str, str]:
        """Return the stored texts by timer key. Raises StoreError."""
        found = await self._facts.recall(PREFIX)
        return {name.removeprefix(PREFIX): text for name, text in found.items()}

    def changed(self, work: TimerWork) -> None:
        """Have its state stored with the next batch, within `GATHER_S`."""
        if not self._changed:
            asyncio.get_running_loop().call_later(GATHER_S, self._wake)
        self._changed[work.timer.key] = work

    def _wake(self) -> None:
        self.wake.set()

    async def wait_stored(self) -> None:
        """Wait until all changes so far are stored."""
        stored = anyio.Event()
        self._waiting.append(stored)
        self.wake.set()
        await stored.wait()

    async def store(self, steps: Sequence[tuple[TimerWork, Step]]) -> None:
        """Store every change, and the steps as if they had been taken.

        Raises StoreError; then the changes will be stored later, the steps will not. The state is read when it is
        written: if a run ends while a step of its timer is being stored, the next batch has both.
        """
        async with self._writing:  # otherwise an older state of a timer could be stored last
            changed, self._changed = self._changed, {}
            waiting, self._waiting = self._waiting, []
            facts = {PREFIX + key: remembered_text(work.remembered) for key, work in changed.items()}
            for work, step in steps:
                facts[PREFIX + work.timer.key] = remembered_text(stepped(work.remembered, step))
            try:
                if facts:
                    await self._facts.remember(facts)
            except BaseException:
                self._changed = changed | self._changed
                self._waiting = waiting + self._waiting
                raise
            for stored in waiting:
                stored.set()
