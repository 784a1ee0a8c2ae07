"""A drain takes nothing more, settles what runs, and gives back the rest: nothing is lost, nothing runs twice."""

import asyncio

from bus.bus import Bus
from tests.kit.consuming import ACK, trigger, working
from tests.kit.serving import closed_gate
from tests.kit.stores import BALANCED, Ledger, StoreFactory, fresh
from tests.kit.support import Bench, until
from triggers.queue import QueueConsumer

LONG_S = 60.0
"""No drain of these tests may need it."""


async def test_a_drain_under_load_loses_nothing(bench: Bench, stores: StoreFactory) -> None:
    queue, ledger = fresh(), Ledger()
    spec = bench.spec("queue", "slow")
    async with working(bench, stores, spec, trigger(queue)) as running:
        ledger.accepted.update(await running.send(queue, *range(200)))
        await running.settled(20)
        async with asyncio.timeout(10):
            await running.consumer.drain(LONG_S)
        statistics = running.consumer.statistics()
        assert (statistics.running, statistics.consuming, statistics.released) == (0, False, 0)
        assert 20 <= statistics.acked < 200
        await running.wait_left(queue, ready=200 - statistics.acked)
        ledger.seen.update(event.id for event, *_ in running.reports)
    async with working(bench, stores, spec, trigger(queue)) as running:
        await running.settled(200 - statistics.acked)
        ledger.seen.update(event.id for event, *_ in running.reports)
    assert ledger.account() == BALANCED
    assert ledger.duplicates == 0


async def test_a_batch_that_still_fills_up_is_given_back(bench: Bench, stores: StoreFactory) -> None:
    queue = fresh()
    consumed = trigger(queue, batch=5, batch_window_s=60.0)
    async with working(bench, stores, bench.spec("queue", "batched"), consumed) as running:
        await running.send(queue, 1, 2)
        await running.wait_left(queue, running=2)
        async with asyncio.timeout(10):
            await running.consumer.drain(LONG_S)
        await running.wait_left(queue, ready=2)
    assert running.reports == []


async def test_a_drain_takes_nothing_while_it_waits_for_what_runs(bench: Bench, stores: StoreFactory) -> None:
    queue = fresh()
    with closed_gate() as gate:
        async with working(bench, stores, bench.spec("pool_work", "held"), trigger(queue, slots=2)) as running:
            await running.send(queue, *[gate.path] * 4)
            await until(lambda: running.served.running() == 2)
            assert repr(running.consumer) == f"<QueueConsumer of {queue} for f: consuming, 2 messages running>"
            async with asyncio.timeout(10), asyncio.TaskGroup() as draining:
                draining.create_task(running.consumer.drain(LONG_S))
                await until(lambda: not running.consumer.statistics().consuming)
                gate.release()
                await running.settled(1)
                await running.wait_left(queue, ready=2, running=1)
                gate.release()
            assert running.consumer.statistics().acked == 2
            await running.wait_left(queue, ready=2)


async def test_what_runs_longer_than_the_drain_is_given_back(bench: Bench, stores: StoreFactory) -> None:
    queue = fresh()
    with closed_gate() as gate:
        async with working(bench, stores, bench.spec("pool_work", "held"), trigger(queue)) as running:
            [quick, slow] = await running.send(queue, gate.path, gate.path)
            await until(lambda: running.served.running() == 2)
            gate.release()
            await running.settled(1)
            async with asyncio.timeout(10):
                await running.consumer.drain(0.1)
            await running.wait_left(queue, ready=1)
            gate.release()
    assert running.decided(quick) + running.decided(slow) == [ACK]


async def test_a_drain_may_be_asked_for_again_and_before_there_is_anything(bench: Bench, stores: StoreFactory) -> None:
    async with working(bench, stores, bench.spec("queue", "slow"), trigger(fresh())) as running:
        async with asyncio.timeout(10):
            await running.consumer.drain(LONG_S)
            await running.consumer.drain(LONG_S)
            await QueueConsumer(Bus(running.store), trigger(fresh())).drain(LONG_S)
        assert running.consumer.statistics().consuming is False
