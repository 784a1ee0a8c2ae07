"""Every trigger of a server: HTTP, a consumer for each queue and inbox, the timers; started and drained as one."""

import contextlib
from collections.abc import AsyncIterator

import anyio

from bus.bus import Bus
from bus.store import Facts
from forklight.config import Config
from forklight.journal import Journal
from forklight.tally import Tally
from triggers.http import HttpServer, RouteTable
from triggers.queue import QueueConsumer
from triggers.timer import TimerRunner


class Triggers:
    """All of them, running."""

    def __init__(self, http: HttpServer, queues: tuple[QueueConsumer, ...], timers: TimerRunner) -> None:
        self.http = http
        self.queues = queues
        self.timers = timers

    async def drain(self, limit_s: float) -> None:
        """Take nothing more, and finish within `limit_s` what was taken."""
        async with anyio.create_task_group() as draining:
            draining.start_soon(self.http.drain, limit_s)
            draining.start_soon(self.timers.drain, limit_s)
            for consumer in self.queues:
                draining.start_soon(consumer.drain, limit_s)


@contextlib.asynccontextmanager
async def run_triggers(
    config: Config, bus: Bus, facts: Facts, journal: Journal, tally: Tally
) -> AsyncIterator[Triggers]:
    """Run them inside the block; leaving it cuts what `drain` has not ended. Raises HttpTriggerError, StoreError."""
    server = HttpServer(
        bus,
        RouteTable(config.routes),
        config.settings.http,
        on_invocation=None if journal.is_quiet else journal.invocation,
    )
    consumers = tuple(QueueConsumer(bus, trigger, on_invocation=tally.settled) for trigger in config.queues)
    timers = TimerRunner(bus, facts, config.timers, on_invocation=tally.fired)
    async with server.run(), timers.running(), anyio.create_task_group() as consuming:
        for consumer in consumers:
            await consuming.start(consumer.serve)
        try:
            yield Triggers(server, consumers, timers)
        finally:
            consuming.cancel_scope.cancel()
