"""`concurrency = N` on queues: as many messages at once as there are slots, and what a call costs its neighbours."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from bus.outcome import Failed, Outcome
from bus.retry import Dead, Release, RetryPolicy
from tests.kit.consuming import ACK, Consuming, trigger, working
from tests.kit.stores import StoreFactory, fresh
from tests.kit.support import Bench, readable_folder, until

pytestmark = pytest.mark.any_user

ONCE = RetryPolicy(attempts=1)


def _pool(concurrency: int) -> dict[str, Any]:
    return {"concurrency": concurrency, "max_instances": 1}


async def test_messages_are_in_flight_together_in_one_instance(bench: Bench, stores: StoreFactory) -> None:
    queue = fresh()
    spec = bench.spec("together", "messages:meets", concurrency=200)
    async with working(bench, stores, spec, trigger(queue, slots=200), **_pool(200)) as running:
        await running.send(queue, *[200] * 200)
        await running.settled(200)
        assert len(running.served.instances()) == 1
    assert running.consumer.statistics().acked == 200


async def test_a_batch_is_one_call(bench: Bench, stores: StoreFactory) -> None:
    queue = fresh()
    spec = bench.spec("together", "messages:meets", concurrency=5)
    batches = trigger(queue, slots=5, batch=10, batch_window_s=20.0)
    async with working(bench, stores, spec, batches, **_pool(5)) as running:
        await running.send(queue, *[5] * 50)
        await running.settled(50)
        assert len(running.outcomes()) == 5
        assert len(running.served.instances()) == 1


async def test_an_overdue_call_is_cancelled_alone(bench: Bench, stores: StoreFactory) -> None:
    queue = fresh()
    spec = bench.spec("together", "messages:acts", concurrency=10, timeout_s=1.5)
    async with working(bench, stores, spec, trigger(queue, slots=10, retry=ONCE), **_pool(10)) as running:
        [overdue] = await _begun_well_before(running, queue, "hang")
        others = await running.send(queue, *["until cancelled"] * 5)
        await running.settled(6)
        assert [running.decided(one) for one in others] == [[ACK]] * 5
    [dead] = running.decided(overdue)
    assert isinstance(dead, Dead)
    assert _codes(running) == {"Timeout": 1, "": 5}


async def test_the_neighbours_of_a_killed_call_run_again_without_an_attempt(bench: Bench, stores: StoreFactory) -> None:
    queue = fresh()
    spec = bench.spec("together", "messages:acts", concurrency=10, timeout_s=1.5, grace_s=0.1)
    with readable_folder() as folder:
        async with working(bench, stores, spec, trigger(queue, slots=10, retry=ONCE), **_pool(10)) as running:
            [blocks] = await _begun_well_before(running, queue, {"block": str(folder / "block")})
            others = await running.send(queue, *[{"wait": str(folder / "go")}] * 5)
            await until(lambda: running.served.now().calls == 6)
            (folder / "block").touch()
            await until(lambda: all(running.decided(one) for one in others))
            (folder / "go").touch()
            await running.settled(6)
            ended = [running.decided(one) for one in others]
    assert [type(decision) for decisions in ended for decision in decisions[:1]] == [Release] * 5
    assert [decisions[1:] for decisions in ended] == [[ACK]] * 5
    [dead] = running.decided(blocks)
    assert isinstance(dead, Dead)
    assert _codes(running) == {"Timeout": 1, "InstanceKilled": 5, "": 5}
    assert {event.attempt for event, *_ in running.reports} == {1}


async def test_a_drain_waits_for_all_calls(bench: Bench, stores: StoreFactory) -> None:
    queue = fresh()
    spec = bench.spec("together", "messages:acts", concurrency=20)
    with readable_folder() as folder:
        async with working(bench, stores, spec, trigger(queue, slots=20), **_pool(20)) as running:
            await running.send(queue, *[{"wait": str(folder / "go")}] * 20)
            await until(lambda: running.served.now().calls == 20)
            draining = asyncio.create_task(running.consumer.drain(20.0))
            await until(lambda: not running.consumer.statistics().consuming)
            (folder / "go").touch()
            await draining
            assert running.consumer.statistics().acked == 20


async def _begun_well_before(running: Consuming, queue: str, data: Any) -> list[str]:
    """Send a message and wait until it has run for longer than grace: what begins now is overdue so much later."""
    sent = await running.send(queue, data)
    await until(lambda: running.served.now().calls == 1)
    clock = asyncio.get_running_loop().time
    until_s = clock() + 0.5
    await until(lambda: clock() > until_s)
    return sent


def _codes(running: Consuming) -> Counter[str]:
    """How many runs ended with each code; empty is success."""

    def code(outcome: Outcome | None) -> str:
        return str(outcome.code) if isinstance(outcome, Failed) else ""

    return Counter(map(code, running.outcomes()))
