"""Instances with several slots behind the dispatcher: what the runner does when one closes, dies, or is full."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from tests.kit.serving import serving
from tests.kit.support import Bench, answer, event, failure, readable_folder, until
from tests.kit.targets import outcome_of

pytestmark = pytest.mark.any_user


@pytest.mark.invariant("I2")
async def test_events_that_find_a_dead_instance_with_free_slots_run_on_another(bench: Bench) -> None:
    with readable_folder() as folder:
        spec = bench.spec("together", "messages:acts", concurrency=5)
        async with serving(bench.tree, spec, concurrency=5, max_instances=2) as served:
            lost = served.begin({"wait": str(folder / "never")})
            await until(lambda: served.now().calls == 1)
            [dead] = served.instances()
            os.kill(dead.pid, signal.SIGKILL)
            while _state(dead.pid) not in "ZX":  # no await: the dispatcher is not to notice yet
                pass
            outcomes = await asyncio.gather(*(served.begin() for _ in range(4)))
            assert [answer(outcome) for outcome in outcomes] == [b""] * 4
            assert dead.id not in {outcome.instance for outcome in outcomes}
            assert failure(await lost).code == "Signal"


def _state(pid: int) -> str:
    """As in /proc; X if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except OSError:
        return "X"


@pytest.mark.invariant("I9")
async def test_capacity_comes_back_after_the_last_calls_of_an_instance(bench: Bench) -> None:
    """The one that begins its last call has a free slot, which is lost at that moment."""
    with readable_folder() as folder:
        spec = bench.spec("together", "messages:acts", concurrency=3)
        async with serving(bench.tree, spec, concurrency=3, max_invocations=5, max_instances=1) as served:
            pool, came_back = served.dispatcher.pool("f"), asyncio.Event()
            pool.on_capacity(came_back.set)
            for _ in range(3):
                await served.call()
            last = [served.begin({"wait": str(folder / "go")}) for _ in range(2)]
            await until(lambda: served.now().calls == 2)
            assert pool.capacity() == 0
            assert not came_back.is_set()
            (folder / "go").touch()
            await asyncio.gather(*last)
            await asyncio.wait_for(came_back.wait(), 20)
            assert pool.capacity() == 3


async def test_the_reason_of_one_that_waited_counts_slots(bench: Bench) -> None:
    with readable_folder() as folder:
        spec = bench.spec("together", "messages:acts", concurrency=2)
        async with serving(bench.tree, spec, concurrency=2, max_instances=1) as served:
            gate = str(folder / "go")
            calls = [served.begin({"wait": gate}) for _ in range(2)]
            await until(lambda: served.now().calls == 2)
            waits = asyncio.create_task(outcome_of(served.dispatcher, event(id="waits", function="f")))
            await until(lambda: served.now().waiting == 1)
            (folder / "go").touch()
            await asyncio.gather(*calls, waits)
            reason = served.dispatcher.runners()["f"].reasons.of("waits", 1)
    assert reason is not None
    assert (reason.busy, reason.calls, reason.slots, reason.max_instances) == (1, 2, 2, 1)
