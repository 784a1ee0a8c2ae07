"""What lies in the queues that functions consume: asked of their stores, and bounded in time."""

from collections.abc import Iterable, Sequence
from functools import partial

import anyio
from msgspec.structs import replace

from bus.bus import Bus
from bus.message import UNDELIVERED
from bus.store import QueueStatistics, StoreError
from forklight.observe.status import QueueStatus
from triggers.queue.settings import QueueTrigger

LIMIT_S = 2.0
"""How long stores may take to tell: a broker that is away must not hold up a scrape or `ps`."""

Place = tuple[str, str]
"""A broker's name, empty for the bus's own store, and a queue's."""


def written(place: Place) -> str:
    """`orders`, or `orders@shop`."""
    broker, queue = place
    return f"{queue}@{broker}" if broker else queue


def dead_letter_queues(triggers: Iterable[QueueTrigger]) -> list[Place]:
    """Where the dead letters of these triggers lie, each once; and those that never reached the queue of one."""
    return sorted({(one.broker, queue) for one in triggers for queue in (one.dead_letter, UNDELIVERED)})


def lost_stores(bus: Bus, brokers: Iterable[str]) -> list[str]:
    """Which stores could not store a message now: `bus`, or a broker's name."""
    lost = []
    for broker in ("", *sorted(brokers)):
        try:
            connected = bus.store(broker).is_connected
        except StoreError:  # without a queue, a spawn or a send, a bus needs no store
            continue
        if not connected:
            lost.append(broker or "bus")
    return lost


async def queue_statuses(bus: Bus, triggers: Sequence[QueueTrigger]) -> tuple[QueueStatus, ...]:
    """What is in the queues of these triggers, in their order, within `LIMIT_S`; what is not told is None."""
    places = {(trigger.broker, trigger.queue) for trigger in triggers} | set(dead_letter_queues(triggers))
    told: dict[Place, QueueStatistics | str] = {}
    with anyio.move_on_after(LIMIT_S):
        async with anyio.create_task_group() as asking:
            for place in places:
                asking.start_soon(partial(_ask, bus, place, told))
    counted: set[Place] = set()
    return tuple(_status(trigger, told, counted) for trigger in triggers)


async def _ask(bus: Bus, place: Place, told: dict[Place, QueueStatistics | str]) -> None:
    broker, queue = place
    try:
        told[place] = await bus.store(broker).statistics(queue)
    except StoreError as error:
        told[place] = str(error)


def _status(trigger: QueueTrigger, told: dict[Place, QueueStatistics | str], counted: set[Place]) -> QueueStatus:
    """`counted`: the queues of dead letters that another status has told of."""
    place, dead_place = (trigger.broker, trigger.queue), (trigger.broker, trigger.dead_letter)
    is_first = dead_place not in counted
    counted.add(dead_place)
    late = f"no answer within {LIMIT_S:g} s"
    found, dead = told.get(place, late), told.get(dead_place, late)
    status = QueueStatus(
        queue=written(place),
        function=trigger.function,
        dead_letter=written(dead_place),
        dead=None if isinstance(dead, str) else (dead.ready + dead.running) * is_first,
        problem=found if isinstance(found, str) else dead if isinstance(dead, str) else "",
    )
    if isinstance(found, str):
        return status
    return replace(
        status, ready=found.ready, running=found.running, delayed=found.delayed, oldest_age_s=found.oldest_age_s
    )
