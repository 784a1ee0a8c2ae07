"""Tasks of Celery's clients in a queue that a function consumes."""

import time
from datetime import UTC, datetime

from bus.message import ATTEMPT, REASON, Message
from tests.kit.consuming import trigger, working
from tests.kit.stores import StoreFactory, fresh, message, to
from tests.kit.support import Bench


def task(id_: str, **headers: object) -> Message:
    return message(b'"bad"', id=id_, headers={"lang": "py", "task": "shop.ship", "id": id_} | headers)


def at(seconds: float) -> str:
    return datetime.fromtimestamp(time.time() + seconds, UTC).isoformat()


async def test_a_task_waits_for_its_time_uncounted_and_one_that_is_late_is_dead(
    bench: Bench, stores: StoreFactory
) -> None:
    queue = fresh()
    sent_s = time.time()
    async with working(bench, stores, bench.spec("queue", "picky"), trigger(queue)) as running:
        tasks = [task("later", eta=at(1.0), expires=at(60)), task("late", expires=at(-1)), task("odd", eta="soon")]
        await running.store.publish(to(queue, *tasks))
        await running.settled(3)
        letters = {each.id: each.headers for each in await running.dead(queue, 3)}
    ran = [event for event, outcome, _ in running.reports if outcome is not None]
    assert [event.attempt for event in ran] == [1, 2, 3]
    assert {event.id for event in ran} == {"later"}
    assert time.time() - sent_s >= 1.0
    assert {id_: headers[REASON] for id_, headers in letters.items()} == {
        "later": "Attempts",
        "late": "Expired",
        "odd": "Undecodable",
    }
    assert letters["later"][ATTEMPT] == 3
    assert letters["later"]["forklight-first-error"] == "error/ValueError: attempt 1"
