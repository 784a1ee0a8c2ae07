"""Several calls at once in one instance of an async handler."""

import asyncio

import pytest

from sandbox.errors import InstanceGone
from tests.kit.support import Bench, answer, event, failure

pytestmark = pytest.mark.ordinary_user


@pytest.mark.invariant("I1")
async def test_an_instance_runs_as_many_calls_at_once_as_it_has_slots(bench: Bench) -> None:
    instance, _ = await bench.tree.start(bench.spec("together", "meets", concurrency=3))
    calls = [instance.invoke(event(b"3")) for _ in range(3)]

    assert (instance.free_slots, instance.state) == (0, "busy")
    assert [answer(outcome) for outcome in await asyncio.gather(*calls)] == [3, 3, 3]
    assert (instance.free_slots, instance.state) == (3, "idle")


async def test_an_instance_with_several_calls_that_leaves_finishes_all_of_them(bench: Bench) -> None:
    instance, _ = await bench.tree.start(bench.spec("together", "meets", concurrency=2))
    calls = [instance.invoke(event(b"2")) for _ in range(2)]
    instance.leave()

    with pytest.raises(InstanceGone):
        instance.invoke(event(b"2"))
    assert [answer(outcome) for outcome in await asyncio.gather(*calls)] == [2, 2]


async def test_each_overdue_call_has_the_stack_of_its_own_task(bench: Bench) -> None:
    instance, _ = await bench.tree.start(bench.spec("together", "late", concurrency=4, timeout_s=0.3, grace_s=0.3))
    waits = [instance.invoke(event(f'"{how}"'.encode())) for how in ("obeys", "here", "there")]
    obeys, here, there = [failure(outcome) for outcome in await asyncio.gather(*waits)]

    assert {failed.kind for failed in (obeys, here, there)} == {"timeout"}
    for failed, own in ((obeys, "in obeys"), (here, "in ignores_here"), (there, "in ignores_there")):
        assert [
            place for place in ("in obeys", "in ignores_here", "in ignores_there") if place in failed.traceback
        ] == [own]
        assert "_forklight" not in failed.traceback


async def test_a_call_that_blocks_the_loop_shows_where_in_all_that_it_held_up(bench: Bench) -> None:
    instance, _ = await bench.tree.start(bench.spec("together", "blocks", concurrency=3, timeout_s=0.3, grace_s=0.1))
    waits = [instance.invoke(event(f'"{how}"'.encode())) for how in ("wait", "block", "wait")]

    for outcome in await asyncio.gather(*waits):
        failed = failure(outcome)
        assert failed.kind == "timeout"
        assert "in blocks" in failed.traceback
