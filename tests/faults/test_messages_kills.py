"""Whole servers with messages in flight, killed in every way: what was accepted is handled, and little of it twice."""

import asyncio
import itertools
import os
import random
import signal

import pytest

from tests.kit.messages import SLOTS, counted, load, wait_more
from tests.kit.rounds import rounds
from tests.kit.support import until

KILLS = rounds(2, 10)
IN_FLIGHT = 2 * SLOTS
"""What two queues can have handed out at a time; a broker may hold half as many again."""


async def duplicates_after(bus_url: str, end: signal.Signals, status: int) -> int:
    """Servers under load that end so, one after the other on the same state; then one that finishes what is left."""
    numbers = itertools.count()
    async with counted(bus_url) as (ledger, server_started):
        for _ in range(KILLS):
            async with server_started() as server:
                loading = asyncio.create_task(load(server, ledger, numbers))
                await wait_more(ledger, random.randint(1, 80))
                assert await server.end(end) == status
                await loading
        async with server_started():
            await ledger.wait_handled()
        assert len(ledger.accepted) > KILLS
        return ledger.duplicates()


@pytest.mark.invariant("I19")
@pytest.mark.timeout(180)
async def test_a_killed_server_loses_nothing_that_it_accepted(bus_url: str) -> None:
    # Of `b` also what a first attempt at `a` had sent before it was cut off.
    most = KILLS * 3 * (IN_FLIGHT + IN_FLIGHT // 2)
    assert await duplicates_after(bus_url, signal.SIGKILL, -signal.SIGKILL) <= most


@pytest.mark.timeout(180)
async def test_a_stopped_server_loses_nothing_and_repeats_nothing(bus_url: str) -> None:
    assert await duplicates_after(bus_url, signal.SIGTERM, 0) == 0


@pytest.mark.invariant("I19")
@pytest.mark.timeout(180)
async def test_killed_templates_and_zygotes_lose_nothing(bus_url: str) -> None:
    numbers = itertools.count()
    async with counted(bus_url) as (ledger, server_started), server_started() as server:
        loading = asyncio.create_task(load(server, ledger, numbers, clients=2))
        for kill in range(KILLS):
            await wait_more(ledger, random.randint(1, 60))
            victims = server.zygotes() if kill == KILLS - 1 else server.templates()
            for victim in random.sample(victims, k=min(2, len(victims))):
                os.kill(victim, signal.SIGKILL)
        loading.cancel()
        await asyncio.wait([loading])
        await ledger.wait_handled()
        assert ledger.duplicates() <= KILLS * IN_FLIGHT
        listed = await server.run("dlq", "list", "--json")
        assert (listed.status, listed.stdout.strip()) == (0, "[]")


@pytest.mark.invariant("I27")
@pytest.mark.timeout(120)
async def test_no_scheduled_time_runs_twice_however_the_server_dies(bus_url: str) -> None:
    async with counted(bus_url) as (ledger, server_started):
        for _ in range(KILLS):
            async with server_started() as server:
                wanted = len(ledger.noted("tick")) + random.randint(1, 3)
                await until(lambda wanted=wanted: len(ledger.noted("tick")) >= wanted)  # type: ignore[misc]
                await server.end(signal.SIGKILL)
        assert set(ledger.noted("tick").values()) == {1}
