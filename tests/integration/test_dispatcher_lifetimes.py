"""The lifetime of instances: `keep_alive`, `reserved`, `max_invocations`, expected events, `rest`."""

import asyncio
import os
import signal
import time

import pytest

from dispatcher.keys import Reuse
from tests.kit.serving import closed_gate, serving
from tests.kit.support import Bench, answer, until

pytestmark = pytest.mark.any_user


async def test_an_idle_instance_goes_and_the_next_event_starts_another(bench: Bench) -> None:
    async with serving(bench.tree, bench.spec("pool_work"), keep_alive_s=0.01) as served:
        first = await served.call()
        await until(lambda: not served.instances())
        second = await served.call()

        assert answer(first) != answer(second)
        assert (second.start, len(bench.tree.templates())) == ("fork", 1)


async def test_reserved_instances_are_there_before_any_event_and_stay(bench: Bench) -> None:
    with closed_gate() as gate:
        spec = bench.spec("pool_work", "held")
        async with serving(bench.tree, spec, reserved=1, keep_alive_s=0) as served:
            await until(lambda: served.ready() == 1)
            reserved = served.pids()
            calls = [served.begin(gate.path) for _ in range(3)]
            await until(lambda: served.running() == 3)
            gate.release(3)
            outcomes = await asyncio.gather(*calls)
            await until(lambda: len(served.instances()) == 1)

            assert sorted(str(outcome.start) for outcome in outcomes) == ["fork", "fork", "warm"]
            assert reserved <= {answer(outcome) for outcome in outcomes}


async def test_an_event_that_waited_for_an_instance_to_come_free_had_a_warm_start(bench: Bench) -> None:
    async with serving(bench.tree, bench.spec("pool_work"), max_instances=1, reserved=1) as served:
        await until(lambda: served.ready() == 1)
        outcomes = await asyncio.gather(served.call(), served.call())

        assert [outcome.start for outcome in outcomes] == ["warm", "warm"]


async def test_a_reserved_instance_that_dies_is_replaced_with_back_off(bench: Bench) -> None:
    async with serving(bench.tree, bench.spec("pool_work"), reserved=1) as served:
        await until(lambda: served.ready() == 1)
        (first,) = served.instances()
        os.kill(first.pid, signal.SIGKILL)
        await until(lambda: served.ready() == 1 and served.instances() != [first])
        (second,) = served.instances()
        os.kill(second.pid, signal.SIGKILL)
        await until(lambda: not served.instances())

        assert served.now().starting == 0, "it does not live for long, so there is no hurry"
        outcome = await served.call()
        assert outcome.start == "fork", "but no event waits for that back-off"


async def test_an_instance_is_replaced_after_so_many_invocations(bench: Bench) -> None:
    async with serving(bench.tree, bench.spec("pool_work"), max_invocations=2) as served:
        pids = [await served.pid() for _ in range(5)]

        assert pids[0] == pids[1] != pids[2] == pids[3] != pids[4]
        await until(lambda: len(served.instances()) == 1)


async def test_a_function_that_rests_without_processes_has_none(bench: Bench) -> None:
    spec = bench.spec("pool_work")
    async with serving(bench.tree, spec, rest="none", keep_alive_s=0, template_keep_alive_s=0) as served:
        assert (bench.tree.zygotes(), bench.tree.templates()) == ([], [])
        for _ in range(2):
            outcome = await served.call()
            assert outcome.start == "boot"
            await until(lambda: not bench.tree.zygotes())
            assert (bench.tree.templates(), served.instances()) == ([], [])
        await until(lambda: not list(bench.folders.iterdir()))


async def test_a_zygote_stays_as_long_as_another_function_needs_it(bench: Bench) -> None:
    spec, other = bench.spec("pool_work"), bench.spec("pool_work", "held")
    async with serving(bench.tree, other), serving(bench.tree, spec, rest="none", keep_alive_s=0) as served:
        await until(lambda: len(bench.tree.templates()) == 1)
        (zygote,) = bench.tree.zygotes()
        assert (await served.call()).start == "load"
        bench.tree.drop(spec)
        await until(lambda: [template.spec for template in bench.tree.templates()] == [other])
        assert bench.tree.zygotes() == [zygote]
        assert zygote.ended is None

        bench.tree.drop(other)
        await until(lambda: not bench.tree.zygotes())
        assert zygote.ended == "stopped"


async def test_an_announced_event_finds_an_instance(bench: Bench) -> None:
    async with serving(bench.tree, bench.spec("pool_work"), rest="none") as served:
        served.dispatcher.pool("f").expect(time.monotonic_ns() + 1_000_000_000)
        await until(lambda: served.ready() == 1)
        outcomes = [await served.call() for _ in range(2)]

        assert [(outcome.start, outcome.spare) for outcome in outcomes] == [("warm", True), ("warm", False)]


async def test_nothing_is_made_ready_during_a_drain(bench: Bench) -> None:
    async with serving(bench.tree, bench.spec("pool_work")) as served:
        await served.dispatcher.drain(0)
        served.dispatcher.pool("f").expect(time.monotonic_ns())

        assert served.now().starting == 0


async def test_a_function_whose_threads_forbid_forking_is_served_all_the_same(bench: Bench) -> None:
    async with serving(bench.tree, bench.spec("threads"), max_instances=3, keep_alive_s=0.01) as served:
        outcomes = await asyncio.gather(*(served.call() for _ in range(9)))

        assert len({answer(outcome)["pid"] for outcome in outcomes}) <= 3
        await until(lambda: not served.instances())
        assert (await served.call()).start == "load"


async def test_a_spare_starts_after_the_first_event_and_serves_the_next_that_finds_no_idle_instance(
    bench: Bench,
) -> None:
    with closed_gate() as gate:
        spec = bench.spec("pool_work", "held")
        async with serving(bench.tree, spec, spare=1, max_instances=3, keep_alive_s=0.05) as served:
            assert served.instances() == []
            calls = [served.begin(gate.path)]
            await until(lambda: (served.running(), served.now().spare, served.now().starting) == (1, 1, 0))
            calls.append(served.begin(gate.path))
            await until(lambda: (served.running(), served.now().spare) == (2, 1))
            calls.append(served.begin(gate.path))
            await until(lambda: served.running() == 3)
            gate.release(3)
            outcomes = await asyncio.gather(*calls)

            assert [(outcome.start, outcome.spare) for outcome in outcomes][1:] == [("warm", True)] * 2
            await until(lambda: not served.instances())


async def test_with_reuse_never_each_event_has_an_instance_of_its_own(bench: Bench) -> None:
    async with serving(bench.tree, bench.spec("pool_work"), reuse=Reuse("never"), spare=1, max_instances=2) as served:
        pids = [await served.pid() for _ in range(4)]
        pids += [answer(outcome) for outcome in await asyncio.gather(*(served.call() for _ in range(6)))]

        assert len({*pids}) == 10
        await until(lambda: (len(served.instances()), served.now().spare) == (1, 1))
