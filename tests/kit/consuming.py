"""What tests of the queue trigger share: a function on queues of a real store, and what became of all."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import anyio

from bus.bus import Bus
from bus.event import Event
from bus.invocation import Invocation, QueueVerdict
from bus.message import Message, inbox
from bus.outcome import Outcome
from bus.retry import Ack, Decision, RetryPolicy
from bus.store import Store
from sandbox.spec import FunctionSpec
from tests.kit.serving import Served, serving
from tests.kit.stores import LIMIT_S, StoreFactory, browsed, message, to
from tests.kit.support import Bench, until
from triggers.queue import QueueConsumer, QueueTrigger

ACK: Decision = Ack()
AT_ONCE = RetryPolicy(attempts=3, backoff_s=0.0)
"""Retries without waiting."""


def trigger(queue: str = "", **settings: Any) -> QueueTrigger:
    """The queue as the function "f" consumes it; without a name, its inbox. Dead letters have a queue of their own."""
    name = queue or inbox("f")
    defaults: dict[str, Any] = {
        "function": "f",
        "queue": name,
        "dead_letter": f"{name}.dead",
        "slots": 4,
        "retry": AT_ONCE,
    }
    return QueueTrigger(**(defaults | settings))


class Consuming:
    """A function at work on queues."""

    def __init__(
        self, bus: Bus, served: Served, store: Store, triggers: Sequence[QueueTrigger], now_s: Callable[[], float]
    ) -> None:
        self.served = served
        self.store = store
        self.reports: list[tuple[Event, Outcome | None, Sequence[Decision]]] = []
        bus.subscribe(self._report)
        self.consumers = [QueueConsumer(bus, each, now_s=now_s) for each in triggers]

    @property
    def consumer(self) -> QueueConsumer:
        """The first, or the only one."""
        return self.consumers[0]

    def decided(self, event_id: str) -> list[Decision]:
        """What was decided about one event, in order."""
        return [decision for event, _, decisions in self.reports for decision in decisions if event.id == event_id]

    def outcomes(self) -> list[Outcome | None]:
        return [outcome for _, outcome, _ in self.reports]

    async def send(self, queue: str, *data: Any, **fields: Any) -> list[str]:
        """Store a message for each of these values; their ids."""
        messages = [message(json.dumps(each).encode(), **fields) for each in data]
        await self.store.publish(to(queue, *messages))
        return [each.id or "" for each in messages]

    async def settled(self, count: int) -> None:
        """Wait until so many messages are done or dead."""
        await until(lambda: self._ended() >= count)

    async def dead(self, queue: str, count: int) -> list[Message]:
        """The dead letters of a queue, once there are so many."""
        return await browsed(self.store, f"{queue}.dead", count)

    async def wait_left(self, queue: str, *, ready: int = 0, running: int = 0) -> None:
        """Wait until the queue has so many messages; a broker may take a moment to tell."""
        async with asyncio.timeout(LIMIT_S):
            while True:
                found = await self.store.statistics(queue)
                if (found.ready, found.running) == (ready, running) and not found.delayed:
                    return
                await asyncio.sleep(0.01)

    def _ended(self) -> int:
        return sum(one.acked + one.dead for one in (each.statistics() for each in self.consumers))

    def _report(self, invocation: Invocation) -> None:
        assert invocation.event is not None
        assert isinstance(invocation.verdict, QueueVerdict)
        self.reports.append((invocation.event, invocation.outcome, list(invocation.verdict.decisions) or ()))


@contextlib.asynccontextmanager
async def consuming(
    served: Served,
    store: Store,
    *triggers: QueueTrigger,
    now_s: Callable[[], float] = time.time,
    brokers: Mapping[str, Store] | None = None,
) -> AsyncIterator[Consuming]:
    """The function behind `served` consumes these queues inside the block; leaving it is an abrupt end."""
    bus = Bus(store, brokers, functions={"f"})
    bus.attach(served.dispatcher)
    async with anyio.create_task_group() as tasks:
        running = Consuming(bus, served, store, triggers, now_s)
        for consumer in running.consumers:
            await tasks.start(consumer.serve)
        yield running
        tasks.cancel_scope.cancel()


@contextlib.asynccontextmanager
async def working(
    bench: Bench, stores: StoreFactory, spec: FunctionSpec, *triggers: QueueTrigger, **pool: Any
) -> AsyncIterator[Consuming]:
    """All of it at once: the store is opened, and `spec` consumes these queues with a pool of these settings."""
    async with (
        stores() as store,
        serving(bench.tree, spec, **pool) as served,
        consuming(served, store, *triggers) as running,
    ):
        yield running
