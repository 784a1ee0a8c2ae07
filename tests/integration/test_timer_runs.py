"""Timers before a real dispatcher: what the handler sees, overlap, further attempts, jumps of the clock, the drain."""

import json
from datetime import timedelta
from pathlib import Path

import anyio
import pytest

from bus import Failed, Ok
from bus.bus import Bus
from bus.invocation import Invocation
from tests.kit.serving import closed_gate, serving
from tests.kit.support import Bench, answer, failure, until
from tests.kit.timers import MINUTE, FactsFile, every_minute, ticking
from triggers.timer import Timer, TimerRunner, parse_schedule
from triggers.timer.clock import SystemClock

pytestmark = pytest.mark.any_user


@pytest.fixture
def facts(tmp_path: Path) -> FactsFile:
    return FactsFile(tmp_path / "store.db")


async def test_a_handler_sees_its_scheduled_time_in_its_zone(bench: Bench, facts: FactsFile) -> None:
    timer = every_minute(schedule=parse_schedule(schedule="* * * * *", timezone="Europe/Berlin", of=""))
    async with (
        serving(bench.tree, bench.spec("timer_work")) as served,
        ticking(served.dispatcher, facts, timer) as house,
    ):
        await house.pass_(MINUTE)
        await house.wait_ended(1)
        [(event, outcome)] = house.ended
        assert outcome is not None
        assert (event.source, event.type, event.time) == (
            "/forklight/timer/f/tick",
            "forklight.timer",
            "2026-11-23T12:01:00Z",
        )
        assert answer(outcome) == {
            "id": "f/tick/2026-11-23T12:01:00Z",
            "attempt": 1,
            "timer": {
                "name": "tick",
                "schedule": "* * * * *",
                "timezone": "Europe/Berlin",
                "scheduled_at": "2026-11-23T13:01:00+01:00",
                "past_due": False,
                "missed": 0,
            },
        }
        found = house.now()
        assert (found.outcome, found.runs, found.skipped) == ("ok", 1, 0)
        assert (found.last, found.next) == (house.clock.now(), house.clock.now() + MINUTE)
        assert repr(house.runner).startswith("<TimerRunner: running, 1 timers, ")


async def test_each_time_runs_once_however_the_clock_is_set(bench: Bench, facts: FactsFile) -> None:
    async with (
        serving(bench.tree, bench.spec("timer_work")) as served,
        ticking(served.dispatcher, facts, every_minute()) as house,
    ):
        for minute in (1, 2):
            await house.pass_(MINUTE)
            await house.wait_ended(minute)
        house.clock.set(-2 * MINUTE)
        for _ in range(2):
            await house.pass_(MINUTE)
        assert len(house.ended) == 2
        await house.pass_(MINUTE)
        await house.wait_ended(3)
        house.clock.set(60 * MINUTE)
        await house.pass_(timedelta(seconds=30))
        await house.wait_ended(4)
        assert [at[11:16] for at in house.scheduled()] == ["12:01", "12:02", "12:03", "13:03"]
        section = house.ended[-1][0].timer
        assert section is not None
        assert (section.past_due, section.missed) == (True, 59)


@pytest.mark.parametrize(
    ("overlap", "scheduled", "skipped"),
    [
        ("skip", ["12:01", "12:04"], 2),
        ("queue", ["12:01", "12:03", "12:04"], 1),
        ("allow", ["12:01", "12:02", "12:03", "12:04"], 0),
    ],
)
async def test_times_that_come_while_a_run_goes(
    bench: Bench, facts: FactsFile, overlap: str, scheduled: list[str], skipped: int
) -> None:
    with closed_gate() as gate:
        spec = bench.spec("timer_work", "held", env={"GATE": gate.path})
        async with (
            serving(bench.tree, spec) as served,
            ticking(served.dispatcher, facts, every_minute(overlap=overlap)) as house,
        ):
            for _ in range(3):
                await house.pass_(MINUTE)
            await until(lambda: served.running() == (3 if overlap == "allow" else 1))
            gate.release(3)
            await house.wait_ended(len(scheduled) - 1)
            await until(lambda: house.now().running == 0)
            await house.pass_(MINUTE)
            gate.release()
            await house.wait_ended(len(scheduled))
            assert sorted(at[11:16] for at in house.scheduled()) == scheduled
            assert house.now().skipped == skipped


async def test_a_failed_run_is_tried_again_with_the_same_id(bench: Bench, facts: FactsFile) -> None:
    async with (
        serving(bench.tree, bench.spec("timer_work", "third_time_lucky")) as served,
        ticking(served.dispatcher, facts, every_minute(retry=2)) as house,
    ):
        await house.pass_(MINUTE)
        await house.wait_ended(1)
        await house.pass_(timedelta(seconds=2))
        await house.wait_ended(2)
        await house.pass_(timedelta(seconds=4))
        await house.wait_ended(3)
        outcomes = [outcome for _, outcome in house.ended]
        assert [type(outcome) for outcome in outcomes] == [Failed, Failed, Ok]
        assert [event.attempt for event, _ in house.ended] == [1, 2, 3]
        assert len({event.id for event, _ in house.ended}) == 1
        await until(lambda: house.now().outcome == "ok")


async def test_without_retry_a_failure_is_told_and_the_schedule_goes_on(bench: Bench, facts: FactsFile) -> None:
    async with (
        serving(bench.tree, bench.spec("timer_work", "third_time_lucky")) as served,
        ticking(served.dispatcher, facts, every_minute()) as house,
    ):
        await house.pass_(MINUTE)
        await until(lambda: house.now().outcome == "error/ValueError")
        await house.pass_(MINUTE)
        await house.wait_ended(2)
        assert [event.attempt for event, _ in house.ended] == [1, 1]


async def test_nothing_runs_that_could_not_be_stored_and_it_runs_when_it_can(bench: Bench, facts: FactsFile) -> None:
    async with (
        serving(bench.tree, bench.spec("timer_work")) as served,
        ticking(served.dispatcher, facts, every_minute()) as house,
    ):
        await house.settle()
        facts.is_full = True
        await house.pass_(MINUTE)
        await until(lambda: facts.refusals)
        assert served.now().busy == 0
        await house.pass_(timedelta(seconds=20))
        assert (facts.refusals, house.ended, house.now().last) == (2, [], None)
        facts.is_full = False
        await house.pass_(timedelta(seconds=2))
        await house.wait_ended(1)
        section = house.ended[0][0].timer
        assert section is not None
        assert (section.scheduled_at, section.past_due) == ("2026-11-23T12:01:00+00:00", True)


async def test_a_run_by_hand_is_beside_the_schedule(bench: Bench, facts: FactsFile) -> None:
    async with (
        serving(bench.tree, bench.spec("timer_work")) as served,
        ticking(served.dispatcher, facts, every_minute(), every_minute(name="other")) as house,
    ):
        await house.settle()
        before = await facts.recall("")
        seen = answer(await house.runner.run("f", "tick"))
        assert seen["timer"]["scheduled_at"] == "2026-11-23T12:00:00+00:00"
        assert await facts.recall("") == before
        for name, told in ((None, "2 timers, say which: 'tick', 'other'"), ("tock", "no timer 'tock'")):
            with pytest.raises(LookupError, match=told):
                await house.runner.run("f", name)


async def test_a_drain_fires_nothing_more_and_finishes_what_runs(bench: Bench, facts: FactsFile) -> None:
    with closed_gate() as gate:
        spec = bench.spec("timer_work", "held", env={"GATE": gate.path})
        async with (
            serving(bench.tree, spec) as served,
            ticking(served.dispatcher, facts, every_minute(overlap="allow")) as house,
            anyio.create_task_group() as tasks,
        ):
            await house.pass_(MINUTE)
            await until(lambda: served.running() == 1)
            tasks.start_soon(house.runner.drain, 30)
            await house.pass_(MINUTE)
            gate.release(2)
            await house.wait_ended(1)
        assert [at[11:16] for at in house.scheduled()] == ["12:01"]
        [text] = (await facts.recall("")).values()
        assert (json.loads(text)["outcome"], "running" in json.loads(text)) == ("ok", False)


async def test_a_timer_is_never_cold(bench: Bench, facts: FactsFile) -> None:
    """By the machine's own clock: the pool is told early enough to have an instance ready."""
    at = (SystemClock().now() + timedelta(seconds=3.5)).isoformat()
    timer = Timer(function="f", name="once", schedule=parse_schedule(at=at, of="f/once"))
    async with serving(bench.tree, bench.spec("timer_work"), rest="none") as served:
        bus = Bus()
        bus.attach(served.dispatcher)
        ended: list[Invocation] = []
        bus.subscribe(ended.append)
        runner = TimerRunner(bus, facts, [timer])
        async with facts.open(), runner.running():
            [invocation] = await until(lambda: ended)
        assert isinstance(invocation.outcome, Ok)
        assert invocation.outcome.start == "warm"
        assert runner.statistics()[0].next is None


async def test_an_unknown_function_is_an_outcome(bench: Bench, facts: FactsFile) -> None:
    async with (
        serving(bench.tree, bench.spec("timer_work")) as served,
        ticking(served.dispatcher, facts, every_minute("g")) as house,
    ):
        await house.pass_(MINUTE)
        await house.wait_ended(1)
        assert house.ended[0][1] is not None
        assert failure(house.ended[0][1]).kind == "unknown_function"
