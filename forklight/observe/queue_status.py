"""The contents of the queues that functions consume: stores are asked, for a bounded time."""

from collections.abc import Iterable, Sequence
from functools import partial

import anyio
from msgspec.structs import replace

from bus.bus import Bus
from bus.message import UNDELIVERED
from bus.places import join_place
from bus.store import QueueStatistics, StoreError
from forklight.observe.status import QueueStatus
from triggers.queue.settings import QueueTrigger

LIMIT_S = 2.0
"""How long stores may take to answer: a lost broker must not delay a scrape or `ps`."""

Place = tuple[str, str]
"""The name of a broker, empty for the bus's own store, and that of a queue."""


def written(place: Place) -> str:
    """`orders`, or `orders@shop`."""
    broker, queue = place
    return join_place(queue, broker)


def dead_letter_queues(triggers: Iterable[QueueTrigger]) -> list[Place]:
    """The queues of these triggers' dead letters, each once, and those of messages that could not be delivered."""
    return sorted({(one.broker, queue) for one in triggers for queue in (one.dead_letter, UNDELIVERED)})


def lost_stores(bus: Bus, brokers: Iterable[str]) -> list[str]:
    """Return the stores that are not connected: `bus`, or the name of a broker."""
    lost = []
    for broker in ("", *sorted(brokers)):
        try:
            connected = bus.store(broker).is_connected
        except StoreError:  # a bus without queues and outputs needs no store
            continue
        if not connected:
            lost.append(broker or "bus")
    return lost


async def queue_statuses(bus: Bus, triggers: Sequence[QueueTrigger]) -> tuple[QueueStatus, ...]:
    """Return the status of each trigger's queue, in order, within `LIMIT_S`. Numbers that are not reported are None."""
    places = {(trigger.broker, trigger.queue) for trigger in triggers} | set(dead_letter_queues(triggers))
    answers: dict[Place, QueueStatistics | str] = {}
    with anyio.move_on_after(LIMIT_S):
        async with anyio.create_task_group() as asking:
            for place in places:
                asking.start_soon(partial(_ask, bus, place, answers))
    counted: set[Place] = set()
    return tuple(_status(trigger, answers, counted) for trigger in triggers)


async def _ask(bus: Bus, place: Place, answers: dict[Place, QueueStatistics | str]) -> None:
    broker, queue = place
    try:
        answers[place] = await bus.store(broker).statistics(queue)
    except StoreError as error:
        answers[place] = str(error)


def _status(trigger: QueueTrigger, answers: dict[Place, QueueStatistics | str], counted: set[Place]) -> QueueStatus:
    """`counted`: dead letter queues that an earlier status has included."""
    place, dead_place = (trigger.broker, trigger.queue), (trigger.broker, trigger.dead_letter)
    is_first = dead_place not in counted
    counted.add(dead_place)
    late = f"no answer within {LIMIT_S:g} s"
    found, dead = answers.get(place, late), answers.get(dead_place, late)
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
