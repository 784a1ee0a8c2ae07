"""What is not the message's fault is no attempt: the message waits in its store until the function can run it."""

import asyncio

from bus.retry import Release
from sandbox.spec import Hooks
from tests.kit.consuming import ACK, trigger, working
from tests.kit.serving import closed_gate
from tests.kit.stores import StoreFactory, fresh
from tests.kit.support import Bench, readable_folder, until


async def test_messages_wait_in_the_store_while_the_function_is_throttled(bench: Bench, stores: StoreFactory) -> None:
    queue = fresh()
    spec = bench.spec("pool_work", "held")
    with closed_gate() as gate:
        async with working(bench, stores, spec, trigger(queue), max_instances=1, max_waiting=0) as running:
            sent = await running.send(queue, *[gate.path] * 6)
            await until(lambda: running.consumer.statistics().released)
            await running.wait_left(queue, ready=5, running=1)  # all but the one that runs are back in their store
            gate.release(6)
            await running.settled(6)
            await running.wait_left(queue)
            statistics = running.consumer.statistics()
            assert statistics.dead == statistics.retried == 0
            assert statistics.released <= 6 * 4, "it waits and does not circle"
    for each in sent:
        *before, last = running.decided(each)
        assert last == ACK
        assert all(isinstance(decision, Release) for decision in before)
    assert {event.attempt for event, *_ in running.reports} == {1}


async def test_messages_wait_in_the_store_while_the_function_cannot_load(bench: Bench, stores: StoreFactory) -> None:
    queue = fresh()
    async with working(bench, stores, bench.spec("pool_mended"), trigger(queue)) as running:
        sent = await running.send(queue, *range(6))
        await until(lambda: running.consumer.statistics().released and not running.consumer.statistics().consuming)
        await running.wait_left(queue, ready=6)
        (bench.code / "pool_mended" / "function.py").write_text("def handler(event):\n    return 'mended'\n")
        await running.settled(6)
        await running.wait_left(queue)
    assert [running.decided(each)[-1] for each in sent] == [ACK] * 6
    assert {event.attempt for event, *_ in running.reports} == {1}


async def test_messages_wait_in_the_store_while_a_hook_fails(bench: Bench, stores: StoreFactory) -> None:
    queue = fresh()
    with readable_folder() as folder:
        database = folder / "database"
        hooks = Hooks(after_fork="function:needs_database")
        spec = bench.spec("hooks", hooks=hooks, env={"DATABASE": str(database)})
        async with working(bench, stores, spec, trigger(queue), max_instances=3) as running:
            sent = await running.send(queue, *range(12))
            await until(lambda: running.consumer.statistics().released and not running.consumer.statistics().consuming)
            await running.wait_left(queue, ready=12)
            database.touch()
            await running.settled(12)
            await running.wait_left(queue)
    assert [running.decided(each)[-1] for each in sent] == [ACK] * 12
    assert {event.attempt for event, *_ in running.reports} == {1}


async def test_messages_stay_in_the_store_while_the_server_drains(bench: Bench, stores: StoreFactory) -> None:
    queue = fresh()
    spec = bench.spec("queue", "slow")
    async with working(bench, stores, spec, trigger(queue)) as running:
        assert await running.served.dispatcher.drain(1.0) == 0
        sent = await running.send(queue, *range(6))
        await until(lambda: running.consumer.statistics().released)
        async with asyncio.timeout(10):
            await running.consumer.drain(5.0)
        await running.wait_left(queue, ready=6)
    async with working(bench, stores, spec, trigger(queue)) as running:
        await running.settled(6)
    assert sorted(event.id for event, *_ in running.reports) == sorted(sent)
    assert {event.attempt for event, *_ in running.reports} == {1}
