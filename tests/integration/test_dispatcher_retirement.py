"""Instances that are replaced because their memory is over `retire_memory`, or after `max_invocations`."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox.instance import Instance
from sandbox.spec import MIB, FunctionSpec, Limits
from tests.kit.consuming import ACK, trigger, working
from tests.kit.serving import Served, serving
from tests.kit.stores import StoreFactory, fresh
from tests.kit.support import Bench, answer, readable_folder, until

pytestmark = pytest.mark.any_user

GROWN, SMALL = {"keep": 40}, {"keep": 0}


@pytest.fixture
def go() -> Iterator[Path]:
    """A file that is not there yet."""
    with readable_folder() as folder:
        yield folder / "go"


def hoarding(bench: Bench, **settings: Any) -> FunctionSpec:
    return bench.spec("hoarding", limits=Limits(memory_bytes=256 * MIB, retire_memory_bytes=32 * MIB), **settings)


def retired(served: Served) -> dict[str, int]:
    return {str(limit): count for limit, count in served.dispatcher.runners()["f"].retirement.counts.items()}


def open_gate(path: Path) -> None:
    path.touch()


async def noticed(instance: Instance) -> None:
    """Its memory was seen to be over the limit while it ran a call."""
    usual = instance.on_free
    await until(lambda: instance.on_free != usual)


async def test_an_idle_instance_over_its_memory_is_replaced_and_the_log_says_why(bench: Bench) -> None:
    async with serving(bench.tree, hoarding(bench), reserved=1) as served:
        grown = await served.pid(GROWN)
        await until(lambda: served.now().idle + served.now().spare == 1 and grown not in served.pids())

        assert await served.pid() != grown
        assert retired(served) == {"memory": 1, "invocations": 0}
        (told,) = bench.texts()
        assert "MiB of memory after a call; retire_memory is 32 MiB" in told


async def test_a_busy_instance_over_its_memory_finishes_its_calls_first(bench: Bench, go: Path) -> None:
    async with serving(bench.tree, hoarding(bench, concurrency=3), concurrency=3, max_instances=2) as served:
        calls = [served.begin({**GROWN, "wait": str(go)}) for _ in range(2)]
        await until(lambda: served.now().calls == 2)
        (old,) = served.instances()
        await noticed(old)
        assert await served.pid() == old.pid  # at its end the memory is looked at again
        fresh = await served.pid()
        assert fresh != old.pid
        old.on_worn(old)  # as the next look at it does
        assert retired(served) == {"memory": 1, "invocations": 0}

        open_gate(go)
        assert [answer(outcome) for outcome in await asyncio.gather(*calls)] == [old.pid] * 2
        await until(lambda: old.pid not in served.pids())
        assert await served.pid() == fresh
        assert retired(served) == {"memory": 1, "invocations": 0}


async def test_memory_that_only_a_call_needs_retires_nobody(bench: Bench, go: Path) -> None:
    async with serving(bench.tree, hoarding(bench)) as served:
        call = served.begin({"use": 64, "wait": str(go)})
        await until(lambda: served.running() == 1)
        (one,) = served.instances()
        await noticed(one)
        open_gate(go)

        assert answer(await call) == await served.pid() == one.pid
        assert retired(served) == {"memory": 0, "invocations": 0}
        assert bench.texts() == []


async def test_a_stream_of_calls_notices_nothing(bench: Bench) -> None:
    """Every instance grows over its limit after some calls, and none of the calls fails."""
    async with serving(bench.tree, hoarding(bench), max_instances=2) as served:
        pids: set[int] = set()
        while len(pids) < 4:
            outcomes = await asyncio.gather(*(served.call({"keep": 1}) for _ in range(4)))
            pids |= {answer(outcome) for outcome in outcomes}
            await asyncio.sleep(0.02)
        assert retired(served)["memory"] >= 2


async def test_a_spare_takes_over_from_what_is_replaced(bench: Bench) -> None:
    async with serving(bench.tree, hoarding(bench), spare=1) as served:
        grown = await served.pid(GROWN)
        await until(lambda: grown not in served.pids() and served.now().spare == 1)
        outcome = await served.call()
        assert (outcome.start, outcome.spare) == ("warm", True)


async def test_after_so_many_calls_a_spare_takes_over(bench: Bench) -> None:
    async with serving(bench.tree, bench.spec("hoarding"), max_invocations=2, spare=1) as served:
        ran = Counter[int]()
        for _ in range(6):
            outcome = await served.call()
            ran[answer(outcome)] += 1
            assert outcome.start == "warm" or not ran.total() > 1
            await until(lambda: served.now().spare == 1)
        assert list(ran.values()) == [2, 2, 2]
        assert retired(served) == {"memory": 0, "invocations": 3}


async def test_several_calls_at_once_are_never_more_than_an_instance_may_run(bench: Bench) -> None:
    spec = bench.spec("hoarding", concurrency=4)
    async with serving(bench.tree, spec, concurrency=4, max_invocations=6, max_instances=3, spare=1) as served:
        outcomes = [await asyncio.gather(*(served.call() for _ in range(9))) for _ in range(4)]
        ran = Counter(answer(outcome) for calls in outcomes for outcome in calls)
        assert ran.total() == 36
        assert max(ran.values()) <= 6


async def test_messages_run_in_instances_that_are_replaced(bench: Bench, stores: StoreFactory) -> None:
    queue = fresh()
    spec = hoarding(bench)
    async with working(bench, stores, spec, trigger(queue), max_invocations=3, max_instances=2) as running:
        sent = await running.send(queue, *[{"keep": 4}] * 20)
        await running.settled(20)
        assert [running.decided(one) for one in sent] == [[ACK]] * 20
        ran = Counter(answer(outcome) for outcome in running.outcomes() if outcome is not None)
        assert ran.total() == 20
        assert max(ran.values()) <= 3
