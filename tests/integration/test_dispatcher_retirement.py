"""Instances that are replaced because their memory is over `retire_memory`, or after `max_invocations`."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox.instance import Instance
from sandbox.spec import MIB, FunctionSpec, Limits
from tests.kit.serving import Served, serving
from tests.kit.support import Bench, answer, readable_folder, until

pytestmark = pytest.mark.ordinary_user

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


async def test_what_goes_after_so_many_calls_is_counted(bench: Bench) -> None:
    async with serving(bench.tree, bench.spec("hoarding"), max_invocations=2) as served:
        for _ in range(5):
            await served.call()
        assert retired(served) == {"memory": 0, "invocations": 2}
