"""All triggers of a server: HTTP, a consumer for each queue and inbox, and the timers."""

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from socket import socket

import anyio
import anyio.abc

from bus.bus import Bus
from bus.store import Facts, StoreError
from forklight.config.configuration import Config
from triggers.http import RouteTable
from triggers.http.server import HttpServer
from triggers.queue import QueueConsumer
from triggers.queue.settings import QueueTrigger
from triggers.timer import TimerRunner


class Triggers:
    """All triggers while they run. Made by `run_triggers`."""

    def __init__(
        self,
        http: HttpServer,
        timers: TimerRunner,
        make_consumer: Callable[[QueueTrigger], QueueConsumer],
        consuming: anyio.abc.TaskGroup,
    ) -> None:
        self.http = http
        self.timers = timers
        self._make_consumer = make_consumer
        self._consuming = consuming
        self._queues: dict[QueueTrigger, QueueConsumer] = {}

    def consumers(self) -> list[QueueConsumer]:
        """Return the consumers, one for each queue of each function."""
        return list(self._queues.values())

    async def begin(self, queues: Sequence[QueueTrigger]) -> None:
        """Consume these too, unless they already are. Raises StoreError; then none of them is consumed."""
        begun: list[QueueTrigger] = []
        try:
            for trigger in queues:
                if trigger not in self._queues:
                    consumer = self._make_consumer(trigger)
                    await self._consuming.start(consumer.serve)
                    self._queues[trigger] = consumer
                    begun.append(trigger)
        except StoreError:
            await self._end(begun, 0)
            raise

    async def keep_only(self, queues: Sequence[QueueTrigger], limit_s: float) -> None:
        """Stop consuming all queues but these; running messages have `limit_s` to finish."""
        await self._end([trigger for trigger in self._queues if trigger not in queues], limit_s)

    async def drain(self, limit_s: float) -> None:
        """Accept nothing more, and finish within `limit_s` what was accepted."""
        async with anyio.create_task_group() as draining:
            draining.start_soon(self.http.drain, limit_s)
            draining.start_soon(self.timers.drain, limit_s)
            for consumer in self._queues.values():
                draining.start_soon(consumer.drain, limit_s)

    async def _end(self, queues: Sequence[QueueTrigger], limit_s: float) -> None:
        async with anyio.create_task_group() as draining:
            for trigger in queues:
                draining.start_soon(self._queues[trigger].drain, limit_s)
        for trigger in queues:
            del self._queues[trigger]


@contextlib.asynccontextmanager
async def run_triggers(
    config: Config, bus: Bus, facts: Facts, keys: Path, *, given: socket | None = None, dev: bool = False
) -> AsyncIterator[Triggers]:
    """Run the triggers inside the block; leaving it cancels what is left. Raises HttpTriggerError, StoreError.

    `keys`: the file of API keys; `given`: a listening socket to use instead of `[http] listen`; `dev`: tracebacks reach
    HTTP clients.
    """
    server = HttpServer(
        bus,
        RouteTable(config.routes, config.settings.http.static),
        config.settings.http,
        dev=dev,
        given=given,
        keys=keys,
    )
    timers = TimerRunner(bus, facts, config.timers)

    def make_consumer(trigger: QueueTrigger) -> QueueConsumer:
        return QueueConsumer(bus, trigger)

    async with server.run(), timers.running(), anyio.create_task_group() as consuming:
        triggers = Triggers(server, timers, make_consumer, consuming)
        await triggers.begin(config.queues)
        try:
            yield triggers
        finally:
            consuming.cancel_scope.cancel()
