"""Several calls at once in one instance of an async handler."""

import asyncio

import pytest

from sandbox.errors import InstanceGone
from tests.kit.support import Bench, answer, event

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
