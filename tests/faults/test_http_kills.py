"""Processes of a server under load are killed or stopped: it costs the calls they ran, and nothing else."""

import asyncio
import os
import random
import signal
import time
from collections import Counter

import pytest

from sandbox.backoff import HEALTHY_S
from tests.kit.application import application, function
from tests.kit.load import Load
from tests.kit.rounds import rounds
from tests.kit.served import Server, serving
from tests.kit.support import until

pytestmark = pytest.mark.any_user

SECONDS = rounds(3, 300)
ANSWERS_BETWEEN_KILLS = 100
MOST_TOO_FEW = 3
"""Killed instances. One in the middle of a call has to be among them, however slow the machine is."""


@pytest.mark.timeout(SECONDS + 120)
async def test_instances_templates_and_zygotes_are_killed_at_random() -> None:
    chance = random.Random(20)
    killed: Counter[str] = Counter()
    with application(function("pid", max_instances=4)) as folder:
        async with serving(folder) as server:
            async with Load(server.url, "/pid").on(8) as load:
                end_s = time.monotonic() + SECONDS
                roots_s = 0.0
                while time.monotonic() < end_s or killed["instance"] <= MOST_TOO_FEW or not load.answers[502]:
                    await load.answer(ANSWERS_BETWEEN_KILLS)
                    kinds = ["instance"]
                    if time.monotonic() > roots_s:  # what keeps dying young backs off, and says so to its callers
                        kinds = ["template", "zygote"]
                        roots_s = time.monotonic() + HEALTHY_S + 1.0
                    kind = chance.choice(kinds)
                    killed[kind] += _kill(server, kind, chance)
            after: Counter[int] = Counter()
            while not after[200]:  # the last kill may meet the very next call
                after[(await server.get("/pid")).status] += 1
            outcomes = await until(lambda: _told(server, load.total + after.total()))
    assert load.broken == []
    assert set(load.answers + after) <= {200, 502}
    assert set(outcomes) == {"ok", "crash/Signal"}
    assert outcomes["crash/Signal"] == load.answers[502] + after[502] <= killed["instance"]
    assert killed["template"] + killed["zygote"] >= 1


def _told(server: Server, count: int) -> Counter[str] | None:
    """How so many calls ended, once the log tells of all of them."""
    outcomes = Counter(entry["outcome"] for entry in server.entries() if "outcome" in entry)
    return outcomes if outcomes.total() >= count else None


def _kill(server: Server, kind: str, chance: random.Random) -> int:
    """SIGKILL one process of that kind, if there is one; how many."""
    pids = {"instance": server.instances, "template": server.templates, "zygote": server.zygotes}[kind]()
    if not pids:
        return 0
    try:
        os.kill(chance.choice(pids), signal.SIGKILL)
    except ProcessLookupError:
        return 0
    return 1


async def test_a_stopped_instance_costs_one_call() -> None:
    """It cannot answer, nor obey SIGTERM: after timeout and grace it is killed, and a new one serves."""
    with application(function("pid", max_instances=1, timeout="500ms", grace="100ms", max_wait="30s")) as folder:
        async with serving(folder) as server:
            first = (await server.get("/pid")).json()["pid"]
            os.kill(first, signal.SIGSTOP)
            replies = await asyncio.gather(*(server.get("/pid") for _ in range(5)))
            assert sorted(reply.status for reply in replies) == [200, 200, 200, 200, 504]
            [second] = {reply.json()["pid"] for reply in replies if reply.status == 200}
            assert second != first
            await until(lambda: server.instances() == [second])
