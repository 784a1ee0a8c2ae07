"""Instances are killed with messages in flight: what they ran is run again, and nothing else notices."""

import contextlib
import os
import random
import signal

import pytest

from bus.outcome import Failed, Ok
from bus.retry import Ack, Retry, RetryPolicy
from tests.kit.consuming import Consuming, trigger, working
from tests.kit.stores import BALANCED, Ledger, StoreFactory, fresh
from tests.kit.support import Bench, until

pytestmark = pytest.mark.any_user

MESSAGES = 600
SETTLED_BETWEEN_KILLS = 20


async def test_killed_instances_lose_no_message(bench: Bench, stores: StoreFactory) -> None:
    queue, ledger, chance = fresh(), Ledger(), random.Random(5)
    policy = RetryPolicy(attempts=100, backoff_s=0.0)
    spec = bench.spec("queue", "slow")
    async with working(bench, stores, spec, trigger(queue, retry=policy), max_instances=4) as running:
        ledger.accepted.update(await running.send(queue, *range(MESSAGES)))
        for settled in range(SETTLED_BETWEEN_KILLS, MESSAGES, SETTLED_BETWEEN_KILLS):
            await running.settled(settled)
            await _kill_a_busy_one(running, chance)
        await running.settled(MESSAGES)
        await running.wait_left(queue)
        statistics = running.consumer.statistics()

    ledger.seen.update(event.id for event, _, decisions in running.reports if list(decisions) == [Ack()])
    assert ledger.account() == BALANCED
    assert ledger.duplicates == 0
    failures = [outcome for outcome in _outcomes(running) if isinstance(outcome, Failed)]
    assert {(failed.kind, failed.code) for failed in failures} == {("crash", "Signal")}
    retried = [decision for *_, decisions in running.reports for decision in decisions if isinstance(decision, Retry)]
    assert len(failures) == len(retried) == statistics.retried > 10
    assert (statistics.dead, statistics.released) == (0, 0)


def _outcomes(running: Consuming) -> list[Ok | Failed]:
    return [outcome for outcome in running.outcomes() if outcome is not None]


async def _kill_a_busy_one(running: Consuming, chance: random.Random) -> None:
    def busy() -> list[int]:
        return [each.pid for each in running.served.instances() if each.state == "busy"]

    pid = chance.choice(await until(busy))
    with contextlib.suppress(ProcessLookupError):  # another has just killed it
        os.kill(pid, signal.SIGKILL)
