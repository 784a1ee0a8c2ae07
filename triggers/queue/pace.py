"""When a consumer pauses: while its function is throttled or cannot load, messages wait in their store."""

from collections.abc import Callable
from time import monotonic

import anyio

from bus.store import Consumer

LOOK_S = 1.0
"""How often the capacity is checked in any case: a lost callback must not stop a consumer for ever."""


class Pace:
    """Pauses and resumes one consumer. If holding and resuming overlap, the last hold wins."""

    def __init__(self, consumer: Consumer, capacity: Callable[[], int]) -> None:
        """`capacity` returns how many more events the function could run now."""
        self._consumer = consumer
        self._capacity = capacity
        self._until_s = 0.0
        self._held = anyio.Event()
        self._risen = anyio.Event()
        self._changing = anyio.Lock()

    async def hold(self, pause_s: float) -> None:
        """Pause for `pause_s`, then until there is capacity. Return once the consumer has paused."""
        if pause_s <= 0 and self._capacity() > 0:
            return
        self._until_s = max(self._until_s, monotonic() + pause_s)
        async with self._changing:
            await self._consumer.pause()
        self._held.set()

    async def stop(self) -> None:
        """Pause for good."""
        await self.hold(float("inf"))

    def on_capacity(self) -> None:
        """Note that the capacity has risen from 0."""
        self._risen.set()

    async def keep(self) -> None:
        """Resume after each hold, until cancelled."""
        while True:
            await self._held.wait()
            self._held = anyio.Event()
            await self._wait_ready()
            async with self._changing:
                if self._is_due():  # otherwise another hold came meanwhile
                    await self._consumer.resume()
                else:
                    self._held.set()

    def _is_due(self) -> bool:
        return monotonic() >= self._until_s

    async def _wait_ready(self) -> None:
        while True:
            left_s = self._until_s - monotonic()
            if left_s > 0:
                await anyio.sleep(min(left_s, LOOK_S))
                continue
            self._risen = anyio.Event()
            if self._capacity() > 0:
                return
            with anyio.move_on_after(LOOK_S):
                await self._risen.wait()
