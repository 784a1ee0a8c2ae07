"""More at once than there is room for: a bounded line, a bounded number of instances, and a word to who is too many."""

import asyncio
from collections import Counter

import pytest

from tests.kit.application import Gate, application, function
from tests.kit.served import serving

pytestmark = pytest.mark.any_user

BURST = 500


async def test_a_burst_is_absorbed_by_as_many_instances_as_may_be() -> None:
    """By default nobody is refused: who comes while all are busy waits, as in the backlog of any server."""
    with application(function("pid", timeout="1s")) as folder:
        async with serving(folder) as server:
            replies = await asyncio.gather(*(server.get("/pid") for _ in range(BURST)))
            assert Counter(reply.status for reply in replies) == {200: BURST}
            calls: Counter[int] = Counter(reply.json()["pid"] for reply in replies)
            assert 1 <= len(calls) <= 8
            status = await server.status("pid")
            assert status["instances"]["idle"] + status["instances"]["spare"] == len(server.instances()) <= 8
            assert (status["outcomes"], status["instances"]["waiting"]) == ({"ok": BURST}, 0)


async def test_who_is_too_many_is_told_at_once() -> None:
    with application(function("wait", max_instances=1, max_waiting=3)) as folder:
        first, *others = [Gate(folder, f"gate{number}") for number in range(4)]
        async with serving(folder) as server:
            running = asyncio.create_task(server.post("/wait", first.request))
            async with first.held():
                waiting = [asyncio.create_task(server.post("/wait", gate.request)) for gate in others]
                await server.wait_instances("wait", busy=1, waiting=3)
                refused = await asyncio.gather(*(server.post("/wait", first.request) for _ in range(BURST)))
                assert Counter(reply.status for reply in refused) == {429: BURST}
                assert {reply.headers["Retry-After"] for reply in refused} == {"1"}
                assert {reply.json()["detail"] for reply in refused} == {
                    "all 1 instances of 'wait' (max_instances) are taken, and 3 events wait already (max_waiting = 3)"
                }
                assert not any(task.done() for task in (running, *waiting))
            replies = await asyncio.gather(running, *waiting, *map(_pass, others))
            assert [reply.status for reply in replies if reply] == [200] * 4


async def _pass(gate: Gate) -> None:
    """Let through who comes to the gate, whenever that is."""
    async with gate.held():
        pass
