"""What a server said or remembered before it was killed holds for the next one on the same state."""

import signal
from datetime import UTC, datetime
from pathlib import Path

import pytest
from msgspec import json
from msgspec.structs import replace

from bus.sqlite import open_sqlite
from forklight.serving.stores import FILE
from tests.kit.messages import Ledger, counted
from tests.kit.rounds import rounds
from tests.kit.served import Server
from tests.kit.support import until
from triggers.timer.ledger import PREFIX
from triggers.timer.planner import Remembered, remembered_text

KILLS = rounds(2, 10)
ANSWERS = (("/accept", 200), ("/accept-silently", 204))
YEARS_DOWN = 3
SILENT = """
[functions.accept_silently]
handler = "steps:accept_silently"
http = "POST /accept-silently"
"""
YEARLY = """
[functions.yearly]
handler = "steps:yearly"

[[functions.yearly.timer]]
name = "one"
schedule = "@yearly"

[[functions.yearly.timer]]
name = "skip"
schedule = "@yearly"
missed = "skip"
"""


@pytest.mark.timeout(120)
async def test_what_is_answered_is_stored_though_the_server_dies_at_once(bus_url: str) -> None:
    async with counted(bus_url, SILENT) as (ledger, server_started):
        for n in range(KILLS):
            path, status = ANSWERS[n % len(ANSWERS)]
            async with server_started() as server:
                ledger.sent.add(n)
                reply = await server.post(path, {"n": n})
                assert await server.end(signal.SIGKILL) == -signal.SIGKILL
            assert reply.status == status
            ledger.accepted.add(n)
        async with server_started():
            await ledger.wait_handled()
        # Each kill may repeat all there were until then, in `a` and in `b`, and `b` also what a repeated `a` sends.
        assert ledger.duplicates() <= 3 * sum(range(1, KILLS + 1))


@pytest.mark.timeout(120)
async def test_times_missed_while_the_server_was_down_run_once_or_not_at_all(bus_url: str) -> None:
    async with counted(bus_url, YEARLY) as (ledger, server_started):
        async with server_started() as server:
            await wait_tick(ledger)
            await server.end(signal.SIGKILL)
        assert ledger.noted("yearly") == {}
        newest = datetime(datetime.now(UTC).year, 1, 1, tzinfo=UTC)
        await set_back(server.state, newest.replace(year=newest.year - YEARS_DOWN))
        for _ in range(2):
            async with server_started() as server:
                await wait_tick(ledger)
                await until(lambda: ledger.noted("yearly"))
                assert await outcome_of_skip(server) == "skipped"
                await server.end(signal.SIGKILL)
        once = f"one {newest.isoformat()} past_due=True missed={YEARS_DOWN - 1}"
        assert ledger.noted("yearly") == {once: 1}


async def wait_tick(ledger: Ledger) -> None:
    """Until the timers run: one that is due every second has fired once more."""
    before = ledger.noted("tick").total()
    await until(lambda: ledger.noted("tick").total() > before)


async def set_back(state: Path, to: datetime) -> None:
    """What a server that is down remembers of its yearly timers becomes what it would if it had been down since."""
    async with open_sqlite(state / FILE) as store:
        found = await store.recall(f"{PREFIX}yearly/")
        assert len(found) == 2
        remembered = {key: json.decode(text, type=Remembered) for key, text in found.items()}
        await store.remember({key: remembered_text(replace(each, until=to)) for key, each in remembered.items()})


async def outcome_of_skip(server: Server) -> str:
    """What became last of the timer that skips what it missed."""
    timers = (await server.ask("/timers")).json()
    return next(str(timer["outcome"]) for timer in timers if timer["name"] == "skip")
