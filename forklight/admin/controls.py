"""What the admin API needs of the running server to look into its queues and timers, and to act."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import UTC, datetime

import anyio
from msgspec import Struct

from bus.bus import Bus
from bus.sqlite import SqliteStore
from dispatcher.runner import Runner
from forklight.observe.queue_status import LIMIT_S, lost_stores, queue_statuses
from forklight.observe.status import QueueStatus, TimerStatus
from forklight.observe.timer_status import timer_statuses
from forklight.serving.change import Told
from forklight.serving.strays import Stray, Strays
from triggers.queue.settings import QueueTrigger
from triggers.timer import Timer, TimerRunner


class Controls(Struct, kw_only=True):
    """The parts, as the composition root has made them; a reload assigns functions, triggers and timers anew."""

    bus: Bus
    embedded: SqliteStore
    strays: Strays
    functions: Collection[str]
    runners: Callable[[], Mapping[str, Runner]]
    brokers: Collection[str]
    """the names of `[brokers.NAME]`"""
    triggers: tuple[QueueTrigger, ...]
    """of all queues, inboxes included"""
    timers: tuple[Timer, ...]
    runner: TimerRunner
    reload: Callable[[], Awaitable[Told]]

    async def queue_statuses(self) -> tuple[QueueStatus, ...]:
        """What lies in the queues, also in those that nobody consumes, so far as their stores tell in time."""
        strays: list[Stray] = []
        with anyio.move_on_after(LIMIT_S):
            strays = await self.strays.find(self.triggers)
        return (*await queue_statuses(self.bus, self.triggers), *(stray.status for stray in strays))

    def timer_statuses(self, count: int = 1) -> tuple[TimerStatus, ...]:
        """What the timers do, each with up to `count` times to come."""
        return timer_statuses(self.timers, self.runner.statistics(), datetime.now(UTC), count)

    def lost_stores(self) -> list[str]:
        """Which stores could not store a message now; without the embedded one, no timer fires, whatever the bus."""
        lost = lost_stores(self.bus, self.brokers)
        return lost if self.embedded.is_connected or "bus" in lost else [*lost, "store.db"]
