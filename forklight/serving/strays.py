"""Strays: queues of ours that no function consumes any more, where messages would wait for ever, unnoticed.

It happens when a function or a queue is renamed, or the bus changes. The embedded store can list its queues. RabbitMQ
only answers for names, so the names of all our queues on brokers are stored as facts.

In the embedded store, messages that wait for another attempt are in the queue itself, so its present consumer gets
them. On RabbitMQ they wait in a queue of the function. If the function is gone, they are moved to the function that
consumes their queue now, and keep their attempts.
"""

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeGuard

import anyio
from msgspec import Struct

from bus.bus import Bus
from bus.message import UNDELIVERED, Outgoing, inbox
from bus.sqlite import SqliteStore
from bus.store import Store, StoreError
from forklight.observe.queue_status import Place, dead_letter_queues, written
from forklight.observe.status import QueueStatus
from triggers.queue.settings import QueueTrigger

if TYPE_CHECKING:
    from bus.rabbitmq import RabbitStore

log = logging.getLogger(__name__)

FILE = "sqlite:"
"""Used like a broker's name: the embedded store, if it is not the bus."""
PREFIX = "queue/"
"""Of the facts: the name is `queue/BROKER/QUEUE`, the value is the queue whose retries are in it, or empty."""
ADOPT_EVERY_S = 5.0
_MOVED = 1000
"""The most messages to move in one step."""


class Stray(Struct, frozen=True):
    """A queue that nobody consumes, and the number of its messages."""

    place: Place
    ready: int
    delayed: int | None = None

    @property
    def status(self) -> QueueStatus:
        is_file = self.place[0] == FILE
        problem = "it is in the embedded store, and the bus is a broker" if is_file else "no function here consumes it"
        return QueueStatus(
            queue=written(self.place),
            function="",
            dead_letter="",
            ready=self.ready,
            delayed=self.delayed,
            problem=problem,
        )


def _is_on_broker(store: Store) -> TypeGuard["RabbitStore"]:
    """Whether it is a broker's; asked so that nothing imports that store in a server without a broker."""
    return not isinstance(store, SqliteStore)


def names_of(bus: Bus, triggers: Sequence[QueueTrigger]) -> dict[Place, str]:
    """Return our queues on brokers for these triggers; the value of a retry queue is the queue it belongs to."""
    found: dict[Place, str] = {}
    for trigger in triggers:
        store = bus.store(trigger.broker)
        if _is_on_broker(store):
            found[trigger.broker, trigger.dead_letter] = ""
            if trigger.queue == inbox(trigger.function):
                found[trigger.broker, trigger.queue] = ""
            found[trigger.broker, store.retry_queue(trigger.function, trigger.queue)] = trigger.queue
    return found


class Strays:
    """Finds strays, and moves their retries, for a configuration that a reload may replace."""

    def __init__(self, bus: Bus, embedded: SqliteStore) -> None:
        self._bus = bus
        self._embedded = embedded
        self._known: dict[Place, str] = {}
        """All our queues on brokers that were ever stored, with their values."""

    async def begin(self, triggers: Sequence[QueueTrigger]) -> None:
        """Read the stored names, store these, and log the strays. Raises StoreError."""
        for name, origin in (await self._embedded.recall(PREFIX)).items():
            broker, _, queue = name.removeprefix(PREFIX).partition("/")
            self._known[broker, queue] = origin
        await self.remember(triggers)
        for stray in await self.find(triggers):
            count = stray.ready + (stray.delayed or 0)
            log.warning("queue %s has %d messages, and %s", stray.status.queue, count, stray.status.problem)

    async def remember(self, triggers: Sequence[QueueTrigger]) -> None:
        """Store the names of these triggers' queues on brokers. Raises StoreError."""
        new = {place: origin for place, origin in names_of(self._bus, triggers).items() if place not in self._known}
        await self._embedded.remember({f"{PREFIX}{broker}/{queue}": origin for (broker, queue), origin in new.items()})
        self._known |= new

    async def find(self, triggers: Sequence[QueueTrigger]) -> list[Stray]:
        """Return the queues with messages that none of these triggers consumes. Skip stores that do not answer."""
        found: list[Stray] = []
        async with anyio.create_task_group() as asking:
            for place in await self._candidates(triggers):
                asking.start_soon(self._ask, place, found)
        return sorted(found, key=lambda stray: stray.place)

    async def _ask(self, place: Place, found: list[Stray]) -> None:
        store = self._embedded if place[0] == FILE else self._bus.store(place[0])
        try:
            statistics = await store.statistics(place[1])
        except StoreError:
            return
        if statistics.ready or statistics.delayed:
            found.append(Stray(place, statistics.ready, statistics.delayed))

    async def keep(self, triggers: Callable[[], Sequence[QueueTrigger]]) -> None:
        """Store the names of these triggers' queues, and move retries of removed functions to the present consumers of
        their queues; for ever."""
        while True:
            try:
                await self.remember(triggers())
                await self.adopt(triggers())
            except StoreError as error:
                log.warning("retries of removed functions cannot be moved now: %s", error)
            await anyio.sleep(ADOPT_EVERY_S)

    async def adopt(self, triggers: Sequence[QueueTrigger]) -> int:
        """Move the retries that are due now, and return their number. Raises StoreError."""
        moved = 0
        mine = names_of(self._bus, triggers)
        for (broker, queue), origin in self._known.items():
            heir = next((one for one in triggers if (one.broker, one.queue) == (broker, origin)), None)
            if (broker, queue) in mine or heir is None:
                continue
            store = self._bus.store(broker)
            assert _is_on_broker(store)
            to = store.retry_queue(heir.function, heir.queue)
            if (await store.statistics(queue)).ready:
                into = {one.key: Outgoing(queue=to, message=one.message) for one in await store.browse(queue, _MOVED)}
                moved += await store.take_out(queue, into.keys(), into)
        if moved:
            log.warning("%d retries of removed functions were moved to the present consumers of their queues", moved)
        return moved

    async def _candidates(self, triggers: Sequence[QueueTrigger]) -> list[Place]:
        consumed = {(one.broker, one.queue) for one in triggers} | set(dead_letter_queues(triggers))
        mine = consumed | names_of(self._bus, triggers).keys()
        brokers = {one.broker for one in triggers if _is_on_broker(self._bus.store(one.broker))}
        candidates = {place for place in self._known if place[0] in brokers and place not in mine}
        candidates |= {(broker, UNDELIVERED) for broker in brokers}
        is_bus = self._bus.store() is self._embedded
        try:
            queues = await self._embedded.queues()
        except StoreError:
            queues = []
        files = {("" if is_bus else FILE, queue) for queue in queues}
        return sorted(candidates | (files - mine))
