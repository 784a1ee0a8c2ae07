"""Timers come, go and change while others run, and no scheduled time is run twice or forgotten for that."""

from datetime import timedelta
from pathlib import Path

import pytest

from dispatcher.settings import Function, PoolSettings
from tests.kit.serving import closed_gate, serving
from tests.kit.support import Bench, until
from tests.kit.timers import MINUTE, FactsFile, every_minute, ticking
from triggers.timer import parse_schedule

pytestmark = pytest.mark.any_user

HOUR = timedelta(hours=1)
HOURLY = parse_schedule(schedule="0 * * * *", timezone="UTC", of="")


@pytest.fixture
def facts(tmp_path: Path) -> FactsFile:
    return FactsFile(tmp_path / "store.db")


async def test_an_added_timer_fires_and_one_that_stays_notices_nothing(bench: Bench, facts: FactsFile) -> None:
    async with (
        serving(bench.tree, bench.spec("timer_work")) as served,
        ticking(served.dispatcher, facts, every_minute()) as house,
    ):
        await house.pass_(MINUTE / 2)
        await house.runner.replace([every_minute(), every_minute(name="tock")])
        await house.pass_(MINUTE / 2)
        await house.wait_ended(2)

        assert {event.id for event, _ in house.ended} == {
            "f/tick/2026-11-23T12:01:00Z",
            "f/tock/2026-11-23T12:01:00Z",
        }


async def test_another_schedule_holds_from_now_on(bench: Bench, facts: FactsFile) -> None:
    async with (
        serving(bench.tree, bench.spec("timer_work")) as served,
        ticking(served.dispatcher, facts, every_minute()) as house,
    ):
        await house.pass_(MINUTE)
        await house.wait_ended(1)
        await house.runner.replace([every_minute(schedule=HOURLY)])
        await house.pass_(MINUTE)
        assert house.now().next == house.clock.now().replace(hour=13, minute=0)
        await house.runner.replace([every_minute()])
        await house.pass_(MINUTE)
        await house.wait_ended(2)

        assert [at[11:16] for at in house.scheduled()] == ["12:01", "12:03"]


async def test_a_removed_timer_fires_no_more_and_its_run_finishes(bench: Bench, facts: FactsFile) -> None:
    with closed_gate() as gate:
        spec = bench.spec("timer_work", "held", env={"GATE": gate.path})
        async with (
            serving(bench.tree, spec) as served,
            ticking(served.dispatcher, facts, every_minute()) as house,
        ):
            await house.pass_(MINUTE)
            await until(lambda: served.running() == 1)
            await house.runner.replace([])
            await house.pass_(10 * MINUTE)
            assert house.runner.statistics() == []
            gate.release()
            await house.wait_ended(1)
            assert served.running() == 0


async def test_a_timer_that_comes_back_knows_its_run(bench: Bench, facts: FactsFile) -> None:
    with closed_gate() as gate:
        spec = bench.spec("timer_work", "held", env={"GATE": gate.path})
        async with (
            serving(bench.tree, spec) as served,
            ticking(served.dispatcher, facts, every_minute()) as house,
        ):
            await house.pass_(MINUTE)
            await until(lambda: served.running() == 1)
            await house.runner.replace([])
            await house.runner.replace([every_minute()])
            await house.pass_(MINUTE)

            assert (house.now().running, house.now().outcome) == (1, "skipped"), "the run that goes is its own"
            gate.release()
            await house.wait_ended(1)
            await house.pass_(MINUTE)
            await until(lambda: served.running() == 1)
            gate.release()
            await house.wait_ended(2)
            assert [at[11:16] for at in house.scheduled()] == ["12:01", "12:03"]


async def test_a_function_that_is_removed_and_added_again_is_told_of_the_next_time(
    bench: Bench, facts: FactsFile
) -> None:
    function = Function(spec=bench.spec("timer_work"), pool=PoolSettings(rest="none", keep_alive_s=0))
    async with (
        serving(bench.tree, function.spec, rest="none", keep_alive_s=0) as served,
        ticking(served.dispatcher, facts, every_minute()) as house,
    ):
        await house.pass_(MINUTE - timedelta(seconds=1))
        await until(lambda: served.ready() == 1)
        served.dispatcher.remove("f")
        await house.runner.replace([])
        served.dispatcher.add("f", function)
        await house.runner.replace([every_minute()])
        await until(lambda: served.ready() == 1)
