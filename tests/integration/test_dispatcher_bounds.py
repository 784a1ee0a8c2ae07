"""The bounds of a pool: instances, events in line, waits; cancelled clients; the end of the server."""

import asyncio
import os
import resource

import pytest

from bus import Ok
from tests.kit.serving import closed_gate, serving
from tests.kit.support import Bench, answer, event, failure, until
from tests.kit.targets import outcome_of

pytestmark = pytest.mark.any_user


async def test_a_burst_is_served_by_as_many_instances_as_there_may_be(bench: Bench) -> None:
    async with serving(bench.tree, bench.spec("pool_work"), max_instances=8, max_waiting=500) as served:
        outcomes = await asyncio.gather(*(served.call(n) for n in range(500)))

        assert all(isinstance(outcome, Ok) for outcome in outcomes)
        used = {outcome.instance for outcome in outcomes}
        assert len(used) <= 8
        assert {instance.id for instance in served.instances()} >= used
        assert len(served.instances()) <= 8
        assert (served.now().busy, served.now().waiting) == (0, 0)
        await until(lambda: served.now().starting == 0)  # one instance may have run it all before the others were there
        assert len(served.instances()) <= 8
        assert served.dispatcher.records["f"].outcomes == {"ok": 500}


async def test_an_event_over_the_bound_is_refused_at_once(bench: Bench) -> None:
    with closed_gate() as gate:
        async with serving(bench.tree, bench.spec("pool_work", "held"), max_instances=1, max_waiting=1) as served:
            accepted = [served.begin(gate.path) for _ in range(2)]
            await until(lambda: (served.running(), served.now().waiting) == (1, 1))
            refused = await served.failure(gate.path)

            assert (refused.kind, refused.code, refused.retry_after_s) == ("throttled", "QueueFull", 1.0)
            gate.release(2)
            assert len({answer(outcome) for outcome in await asyncio.gather(*accepted)}) == 1


async def test_an_event_waits_for_no_longer_than_it_may(bench: Bench) -> None:
    with closed_gate() as gate:
        spec = bench.spec("pool_work", "held")
        async with serving(bench.tree, spec, max_instances=1, max_wait_s=0.05, reserved=1) as served:
            await until(served.ready)
            running = served.begin(gate.path)
            await until(lambda: served.running() == 1)
            refused = await served.failure(gate.path)

            assert (refused.kind, refused.code) == ("throttled", "WaitExpired")
            assert "0.05 s" in refused.message
            gate.release()
            answer(await running)


async def test_the_instance_that_was_used_last_is_used_next(bench: Bench) -> None:
    with closed_gate() as gate:
        async with serving(bench.tree, bench.spec("pool_work", "held")) as served:
            running = {served.begin(gate.path) for _ in range(3)}
            await until(lambda: served.running() == 3)
            while running:
                gate.release()
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                (last,) = done
            gate.release(3)

            assert [await served.pid(gate.path) for _ in range(3)] == [answer(last.result())] * 3


async def test_a_client_that_leaves_the_line_takes_nothing_with_it(bench: Bench) -> None:
    with closed_gate() as gate:
        async with serving(bench.tree, bench.spec("pool_work", "held"), max_instances=1) as served:
            running = served.begin(gate.path)
            waiting = [served.begin(gate.path) for _ in range(2)]
            await until(lambda: (served.running(), served.now().waiting) == (1, 2))
            waiting[0].cancel()
            await until(lambda: served.now().waiting == 1)
            gate.release(2)

            assert answer(await running) == answer(await waiting[1])
            assert (served.ready(), served.now().busy) == (1, 0)


async def test_a_client_that_leaves_as_it_gets_an_instance_holds_up_nobody(bench: Bench) -> None:
    """It was the first in line, so its event runs, without an outcome for anybody; then comes the next one."""
    with closed_gate() as gate:
        async with serving(bench.tree, bench.spec("pool_work", "held"), max_instances=1) as served:
            waiting: list[asyncio.Task[object]] = []

            async def first() -> int:
                pid = await served.pid(gate.path)
                waiting[0].cancel()
                return pid

            running = asyncio.create_task(first())
            await until(lambda: served.running() == 1)
            waiting += [served.begin(gate.path) for _ in range(2)]
            await until(lambda: served.now().waiting == 2)
            gate.release(3)

            pid = await running
            assert await served_result(waiting[1]) == pid
            assert waiting[0].cancelled()
            assert (served.ready(), served.now().busy, served.now().waiting) == (1, 0, 0)


async def served_result(task: "asyncio.Task[object]") -> object:
    outcome = await task
    assert isinstance(outcome, Ok)
    return answer(outcome)


async def test_a_client_that_leaves_a_running_call_lets_it_finish(bench: Bench) -> None:
    with closed_gate() as gate:
        async with serving(bench.tree, bench.spec("pool_work", "held"), max_instances=1) as served:
            running = served.begin(gate.path)
            await until(lambda: served.running() == 1)
            pids = served.pids()
            running.cancel()
            await asyncio.wait({running})
            assert served.now().busy == 1
            gate.release()
            await until(served.ready)
            gate.release()

            assert {await served.pid(gate.path)} == pids


async def test_an_event_waits_while_the_dispatcher_has_no_descriptors_left(bench: Bench) -> None:
    async with serving(bench.tree, bench.spec("pool_work"), max_instances=1, keep_alive_s=0.01) as served:
        await served.pid()
        await until(lambda: not served.instances())
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        lowest = os.open(os.devnull, os.O_RDONLY)
        os.close(lowest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + 1, limits[1]))
        try:
            waiting = served.begin()
            await until(lambda: (served.now().waiting, served.now().starting) == (1, 0))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)

        assert isinstance(await waiting, Ok)


async def test_an_event_that_cannot_be_written_costs_no_instance(bench: Bench) -> None:
    async with serving(bench.tree, bench.spec("pool_work"), max_instances=1) as served:
        pid = await served.pid()
        failed = failure(await outcome_of(served.dispatcher, event(function="f", subject="\udcff")))

        assert (failed.kind, failed.code) == ("error", "Undecodable")
        assert await served.pid() == pid


async def test_an_unknown_function_is_said_to_be_unknown(bench: Bench) -> None:
    async with serving(bench.tree, bench.spec("pool_work")) as served:
        for name in ("g", None):
            failed = failure(await outcome_of(served.dispatcher, event(function=name)))
            assert failed.kind == "unknown_function"
        with pytest.raises(LookupError):
            served.dispatcher.pool("g")


async def test_capacity_is_told_each_time_it_comes_back(bench: Bench) -> None:
    with closed_gate() as gate:
        async with serving(bench.tree, bench.spec("pool_work", "held"), max_instances=2) as served:
            told: list[int] = []
            served.dispatcher.pool("f").on_capacity(lambda: told.append(served.dispatcher.pool("f").capacity()))
            for _ in range(2):
                assert served.dispatcher.pool("f").capacity() == 2
                first, second = served.begin(gate.path), served.begin(gate.path)
                await until(lambda: served.running() == 2)
                assert served.dispatcher.pool("f").capacity() == 0
                gate.release()
                await asyncio.wait({first, second}, return_when=asyncio.FIRST_COMPLETED)
                assert served.dispatcher.pool("f").capacity() == 1
                gate.release()
                await asyncio.wait({first, second})

            assert told == [1, 1]


async def test_a_drain_refuses_what_is_new_and_waits_for_what_runs(bench: Bench) -> None:
    with closed_gate() as gate:
        async with serving(bench.tree, bench.spec("pool_work", "held"), max_instances=2) as served:
            accepted = served.begin(gate.path)
            await until(lambda: served.running() == 1)
            draining = asyncio.create_task(served.dispatcher.drain(3600))
            await until(lambda: served.dispatcher.pool("f").capacity() == 0)
            refused = await served.failure(gate.path)
            assert (refused.kind, refused.code) == ("throttled", "Draining")
            assert not draining.done()
            gate.release()

            assert await draining == 0
            assert isinstance(accepted.result(), Ok)


async def test_a_drain_that_takes_too_long_says_what_is_left(bench: Bench) -> None:
    with closed_gate() as gate:
        async with serving(bench.tree, bench.spec("pool_work", "held"), max_instances=1) as served:
            accepted = [served.begin(gate.path) for _ in range(2)]
            await until(lambda: served.running() == 1)

            assert await served.dispatcher.drain(0.01) == 2
            gate.release(2)
            await asyncio.wait(accepted)
