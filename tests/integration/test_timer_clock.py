"""A clock that is wrong by hours holds no timer up, and errors around one timer end no other."""

import logging
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from bus.invocation import Invocation
from tests.kit.serving import serving
from tests.kit.support import Bench, until
from tests.kit.timers import MINUTE, NOON, FactsFile, SetClock, every_minute, ticking
from triggers.timer import Timer, name_timers, parse_cron
from triggers.timer.schedule import Cron

pytestmark = pytest.mark.any_user

HOURS = timedelta(hours=9)


@pytest.fixture
def facts(tmp_path: Path) -> FactsFile:
    return FactsFile(tmp_path / "store.db")


async def test_a_start_with_a_clock_that_is_ahead_silences_no_timer(
    bench: Bench, facts: FactsFile, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(bench.tree, bench.spec("timer_work")) as served:
        async with ticking(served.dispatcher, facts, every_minute(), clock=SetClock(NOON + HOURS)) as house:
            await house.pass_(MINUTE)
            await house.wait_ended(1)
        with caplog.at_level(logging.WARNING):
            async with ticking(served.dispatcher, facts, every_minute()) as house:
                await house.pass_(MINUTE)
                await house.wait_ended(1)
                assert house.scheduled() == ["2026-11-23T12:01:00+00:00"]
    assert "the clock was ahead before, up to 2026-11-23T21:01:00Z" in caplog.text


async def test_nor_does_a_clock_that_is_set_back_while_timers_run(bench: Bench, facts: FactsFile) -> None:
    async with (
        serving(bench.tree, bench.spec("timer_work")) as served,
        ticking(served.dispatcher, facts, every_minute(), clock=SetClock(NOON + HOURS)) as house,
    ):
        await house.pass_(MINUTE)
        await house.wait_ended(1)
        house.clock.set(-HOURS)
        for count in (1, 2, 3):  # the first look at the clock that has been set finds it, the next times are due
            await house.pass_(MINUTE)
            if count > 1:
                await house.wait_ended(count)
        assert [at[11:16] for at in house.scheduled()] == ["21:01", "12:03", "12:04"]


async def test_an_error_around_one_timer_ends_neither_it_nor_others(bench: Bench, facts: FactsFile) -> None:
    """Whoever is told of invocations fails, as one might with a bug."""
    async with (
        serving(bench.tree, bench.spec("timer_work")) as served,
        ticking(served.dispatcher, facts, every_minute(), every_minute(name="tock")) as house,
    ):
        met: list[str] = []

        def report(invocation: Invocation) -> None:
            assert invocation.event is not None
            assert invocation.event.timer is not None
            met.append(invocation.event.timer.name)
            if invocation.event.timer.name == "tick":
                raise ZeroDivisionError

        house.bus.subscribe(report)
        for count in (2, 4, 6):
            await house.pass_(MINUTE)
            await until(partial(_are, met, count))
        await house.settle()
        tick, tock = house.runner.statistics()

    assert sorted(met) == ["tick"] * 3 + ["tock"] * 3
    assert (tick.outcome, tock.outcome) == ("ok", "ok")


async def test_a_second_timer_without_a_name_costs_the_first_nothing(bench: Bench, facts: FactsFile) -> None:
    """At a restart and at a reload, whether it is written before or behind."""
    minutely, hourly = parse_cron("* * * * *"), parse_cron("0 * * * *")

    def timers(*schedules: Cron) -> list[Timer]:
        names = name_timers("f", [(None, schedule.text) for schedule in schedules])
        return [Timer(function="f", name=name, schedule=one) for name, one in zip(names, schedules, strict=True)]

    async with serving(bench.tree, bench.spec("timer_work")) as served:
        async with ticking(served.dispatcher, facts, *timers(minutely)) as house:
            await house.pass_(MINUTE)
            await house.wait_ended(1)
            await house.runner.replace(timers(minutely, hourly))
            first, _ = house.runner.statistics()
            assert (first.name, first.last) == ("f", NOON + MINUTE)
            await house.runner.replace(timers(hourly, minutely))
            new, moved = house.runner.statistics()
            assert (new.name, new.last, moved.name, moved.last) == ("f", None, "* * * * *", NOON + MINUTE)
            await house.pass_(MINUTE)
            await house.wait_ended(2)
        clock = SetClock(NOON + 4 * MINUTE + MINUTE / 2)
        async with ticking(served.dispatcher, facts, *timers(minutely), clock=clock) as house:
            await house.wait_ended(1)
            assert [(at[11:16]) for at in house.scheduled()] == ["12:04"]
            section = house.ended[0][0].timer
            assert section is not None
            assert (section.name, section.missed) == ("f", 1)


def _are(met: list[str], count: int) -> bool:
    return len(met) == count
