"""What a timer knows after a restart: times missed, runs cut short, a schedule that was changed."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from bus.event import Event
from bus.outcome import Failed, Ok, Outcome
from tests.kit.serving import closed_gate, serving
from tests.kit.support import Bench, until
from tests.kit.targets import Awaiting
from tests.kit.timers import MINUTE, NOON, FactsFile, SetClock, every_minute, ticking
from triggers.timer import parse_cron, parse_schedule

pytestmark = pytest.mark.any_user


@pytest.fixture
def facts(tmp_path: Path) -> FactsFile:
    return FactsFile(tmp_path / "store.db")


@pytest.mark.parametrize(
    ("settings", "scheduled", "skipped"),
    [({}, ["12:30"], 29), ({"missed": "skip"}, [], 30), ({"schedule": parse_cron("*/7 * * * *")}, [], 0)],
)
async def test_times_missed_while_the_server_was_down(
    bench: Bench, facts: FactsFile, settings: dict[str, Any], scheduled: list[str], skipped: int
) -> None:
    """Also those before the timer ever ran; of a changed schedule none was missed."""
    async with serving(bench.tree, bench.spec("timer_work")) as served:
        async with ticking(served.dispatcher, facts, every_minute()) as house:
            await house.settle()
        later = SetClock(NOON + 30 * MINUTE + timedelta(seconds=20))
        async with ticking(served.dispatcher, facts, every_minute(**settings), clock=later) as house:
            await house.settle()
            await house.wait_ended(len(scheduled))
            assert [at[11:16] for at in house.scheduled()] == scheduled
            assert [event.timer.past_due for event, _ in house.ended if event.timer] == [True] * len(scheduled)
            assert house.now().skipped == skipped


@pytest.mark.parametrize(("retry", "attempts"), [(0, []), (1, [2])])
async def test_a_run_cut_short_is_known_and_only_run_as_a_further_attempt(
    bench: Bench, facts: FactsFile, tmp_path: Path, retry: int, attempts: list[int]
) -> None:
    with closed_gate() as gate:
        spec = bench.spec("timer_work", "held", env={"GATE": gate.path})
        async with serving(bench.tree, spec) as served:
            async with ticking(served.dispatcher, facts, every_minute(retry=retry)) as house:
                await house.pass_(MINUTE)
                await until(lambda: served.running() == 1)
                killed = facts.copy(tmp_path / "killed")
            assert [outcome for _, outcome in house.ended] == [None]
            gate.release(2)
            clock = SetClock(NOON + MINUTE + timedelta(seconds=1))
            async with ticking(served.dispatcher, killed, every_minute(retry=retry), clock=clock) as house:
                await house.settle()
                await house.wait_ended(len(attempts))
                assert [event.attempt for event, _ in house.ended] == attempts
                assert {event.id for event, _ in house.ended} <= {"f/tick/2026-11-23T12:01:00Z"}
                await until(lambda: house.now().outcome == ("ok" if attempts else "interrupted"))
                assert house.now().last == NOON + MINUTE


async def test_a_run_that_ends_while_the_next_is_stored_does_not_undo_it(
    bench: Bench, facts: FactsFile, tmp_path: Path
) -> None:
    with closed_gate() as gate:
        spec = bench.spec("timer_work", "held", env={"GATE": gate.path})
        timer = every_minute(overlap="allow")
        async with serving(bench.tree, spec) as served:
            async with ticking(served.dispatcher, facts, timer) as house:
                await house.pass_(MINUTE)
                await until(lambda: served.running() == 1)
                facts.pause = anyio.Event()
                house.clock.pass_(MINUTE)
                await until(lambda: facts.paused)
                gate.release()
                await house.wait_ended(1)
                facts.pause.set()
                await until(lambda: served.running() == 1 and facts.paused > 1)
                await house.settle()
                killed = facts.copy(tmp_path / "killed")
            clock = SetClock(NOON + 2 * MINUTE + timedelta(seconds=1))
            async with ticking(served.dispatcher, killed, timer, clock=clock) as house:
                await house.settle()
                assert (house.now().last, house.now().running) == (NOON + 2 * MINUTE, 0)
                assert house.now().outcome == "interrupted"
            gate.release()


async def test_a_run_that_waits_for_a_further_attempt_gets_it_after_a_restart(bench: Bench, facts: FactsFile) -> None:
    timer = every_minute(retry=2, backoff_s=300)
    async with serving(bench.tree, bench.spec("timer_work", "third_time_lucky")) as served:
        async with ticking(served.dispatcher, facts, timer) as house:
            await house.pass_(MINUTE)
            await house.wait_ended(1)
            await house.runner.drain(30)
        clock = SetClock(NOON + MINUTE + timedelta(seconds=1))
        async with ticking(served.dispatcher, facts, timer, clock=clock) as house:
            await house.wait_ended(1)
            assert house.ended[0][0].attempt == 2


async def test_no_time_runs_again_after_a_restart_with_the_clock_set_back(bench: Bench, facts: FactsFile) -> None:
    async with serving(bench.tree, bench.spec("timer_work")) as served:
        async with ticking(served.dispatcher, facts, every_minute()) as house:
            await house.pass_(MINUTE)
            await house.wait_ended(1)
        async with ticking(served.dispatcher, facts, every_minute()) as house:
            await house.pass_(MINUTE)
            assert house.ended == []
            await house.pass_(MINUTE)
            await house.wait_ended(1)
            assert [at[11:16] for at in house.scheduled()] == ["12:02"]


async def test_a_single_time_missed_is_run_once_and_never_again(bench: Bench, facts: FactsFile) -> None:
    timer = every_minute(schedule=parse_schedule(at="2026-11-23T12:10", of="f/tick"))
    async with serving(bench.tree, bench.spec("timer_work")) as served:
        async with ticking(served.dispatcher, facts, timer) as house:
            await house.settle()
        for runs in (1, 0):
            clock = SetClock(NOON + 30 * MINUTE)
            async with ticking(served.dispatcher, facts, timer, clock=clock) as house:
                await house.settle()
                await house.wait_ended(runs)
                await until(lambda: house.now().outcome == "ok")
                assert (len(house.ended), house.now().next) == (runs, None)


FAILURES = [
    Failed(kind="load", code="ImportModuleError", message="No module named 'x'"),
    Failed(kind="throttled", code="QueueFull", message="the line is full"),
    Failed(kind="throttled", code="WaitExpired", message="none came free"),
    Failed(kind="unknown_function", code="UnknownFunction", message="there is no function f"),
    Failed(kind="timeout", code="Timeout", message="too long"),
    Failed(kind="store", code="NotStored", message="the disk is full"),
]


class Answers(Awaiting):
    """A target that answers as it is told to."""

    def __init__(self, *outcomes: Outcome) -> None:
        self._outcomes = list(outcomes)

    async def call(self, event: Event) -> Outcome:
        return self._outcomes.pop(0)


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: failure.code)
async def test_whatever_kept_a_run_from_succeeding_is_remembered_as_its_failure_until_one_succeeds(
    facts: FactsFile, failure: Failed
) -> None:
    clock = SetClock()
    async with ticking(Answers(failure, failure), facts, every_minute(), clock=clock) as house:
        for count in (1, 2):
            await house.pass_(MINUTE)
            await until(lambda count=count: house.now().results.failures == count)  # type: ignore[misc]
    async with ticking(Answers(Ok()), facts, every_minute(), clock=clock) as house:
        results = house.now().results
        assert (results.failures, results.succeeded, results.failed) == (2, None, NOON + 2 * MINUTE)
        assert results.error == f"{failure.kind}/{failure.code}: {failure.message}"
        await house.pass_(MINUTE)
        await until(lambda: house.now().results.failures == 0)
        assert house.now().results.succeeded == NOON + 3 * MINUTE
        assert house.now().results.failed == NOON + 2 * MINUTE
