"""Deploys, rollbacks and canaries under load: no request fails, no message is lost, no instance has two versions."""

import asyncio
import itertools

import pytest

from tests.kit.deployed_traffic import Counted, counted_application, go_round
from tests.kit.load import Load
from tests.kit.messages import load, wait_more
from tests.kit.rounds import rounds
from tests.kit.served import LIMIT_S

pytestmark = pytest.mark.any_user

ROUNDS = rounds(1, 10)
"""Of three deploys each, two of them canaries."""


@pytest.fixture(params=["sqlite", "rabbitmq"])
def bus_url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue("amqp_url")) if request.param == "rabbitmq" else "sqlite:"


@pytest.mark.timeout(300)
async def test_nothing_fails_and_nothing_is_lost(bus_url: str) -> None:
    async with counted_application(bus_url) as counted:
        requests = Load(counted.server.url, "/version")
        async with asyncio.TaskGroup() as tasks, requests.on(4):
            messages = tasks.create_task(load(counted.server, counted.ledger, itertools.count(), clients=2))
            for _ in range(ROUNDS):
                await go_round(counted, lambda: moment(counted, requests))
            messages.cancel()
        assert (requests.broken, requests.refused, set(requests.answers)) == ([], 0, {200})
        await counted.ledger.wait_handled()
        assert counted.ledger.duplicates() == 0
        assert {len(versions) for versions in counted.versions_by_process().values()} == {1}
        assert len(counted.messages_by_version()) >= 3 * ROUNDS


async def moment(counted: Counted, requests: Load) -> None:
    """So much is answered and handled."""
    async with asyncio.timeout(LIMIT_S):
        await requests.answer(50)
        await wait_more(counted.ledger, 10)
