"""What a timer does now: every policy, and no scheduled time twice whatever the clock and restarts do."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggers.timer.parse import parse_cron, parse_schedule
from triggers.timer.planner import (
    Remembered,
    Results,
    Run,
    Span,
    Step,
    ended,
    interrupted,
    plan,
    recalled,
    remembered_text,
    set_back,
    start_at,
    stepped,
    stored_of,
)
from triggers.timer.schedule import Schedule, identity, next_after
from triggers.timer.settings import Timer

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def timer(schedule: Schedule | None = None, **settings: Any) -> Timer:
    return Timer(function="f", name="t", schedule=schedule or parse_cron("0 * * * *"), **settings)


def planned(one: Timer, now: datetime, until: datetime = NOON, **state: bool) -> Step | None:
    first = next_after(one.schedule, until)
    assert first is not None
    return plan(one, Remembered(schedule=identity(one.schedule), until=until), first, now, **state)


def test_nothing_is_run_before_its_time() -> None:
    assert planned(timer(), NOON + HOUR - timedelta(microseconds=1)) is None


def test_a_time_that_has_come_is_run() -> None:
    step = planned(timer(), NOON + HOUR)
    assert step == Step(until=NOON + HOUR, following=NOON + 2 * HOUR, run=Run(scheduled_at=NOON + HOUR))


def test_one_run_stands_for_all_that_were_missed() -> None:
    step = planned(timer(), NOON + 5 * HOUR + timedelta(minutes=1))
    assert step is not None
    assert step.run == Run(scheduled_at=NOON + 5 * HOUR, missed=4, past_due=True)


def test_missed_ones_are_skipped_if_wished_but_not_one_that_is_only_just_due() -> None:
    late = planned(timer(missed="skip"), NOON + 5 * HOUR + timedelta(minutes=1))
    assert late == Step(until=NOON + 5 * HOUR, following=NOON + 6 * HOUR, skipped="missed", missed=5)
    in_time = planned(timer(missed="skip"), NOON + 5 * HOUR + timedelta(seconds=1))
    assert in_time is not None
    assert in_time.run == Run(scheduled_at=NOON + 5 * HOUR)
    assert in_time.missed == 4


def test_while_a_run_goes_a_time_is_skipped_held_or_run_beside_it() -> None:
    skipped = planned(timer(overlap="skip"), NOON + HOUR, busy=True)
    assert skipped == Step(until=NOON + HOUR, following=NOON + 2 * HOUR, skipped="overlap", missed=1)
    assert planned(timer(overlap="queue"), NOON + HOUR, busy=True) is None
    beside = planned(timer(overlap="allow"), NOON + HOUR, busy=True)
    assert beside is not None
    assert beside.run is not None


def test_times_that_were_held_back_are_one_run_even_if_missed_ones_are_skipped() -> None:
    step = planned(timer(overlap="queue", missed="skip"), NOON + 3 * HOUR + timedelta(minutes=9), waited=True)
    assert step is not None
    assert step.run == Run(scheduled_at=NOON + 3 * HOUR, missed=2, past_due=True)


def test_jitter_delays_the_start_by_the_same_time_always_and_leaves_the_scheduled_time() -> None:
    jittery = timer(jitter_s=600)
    start = start_at(jittery, NOON + HOUR)
    assert timedelta(0) < start - (NOON + HOUR) < timedelta(minutes=10)
    assert start == start_at(jittery, NOON + HOUR)
    assert planned(jittery, start - timedelta(microseconds=1)) is None
    step = planned(jittery, start)
    assert step is not None
    assert step.run == Run(scheduled_at=NOON + HOUR)


def test_a_timer_never_seen_begins_now_and_its_first_missed_time_is_noticed() -> None:
    text = remembered_text(recalled(timer(), None, NOON))
    found = recalled(timer(), text, NOON + 9 * HOUR)
    assert found.until == NOON


def test_a_changed_schedule_begins_now_and_is_not_past_due() -> None:
    text = remembered_text(recalled(timer(), None, NOON))
    changed = timer(parse_cron("30 * * * *"))
    assert recalled(changed, text, NOON + 9 * HOUR).until == NOON + 9 * HOUR


def test_what_cannot_be_read_begins_now() -> None:
    assert recalled(timer(), "{", NOON) == recalled(timer(), None, NOON)


@pytest.mark.parametrize(("retry", "attempt", "again"), [(0, 1, []), (2, 1, [2]), (2, 2, [3]), (2, 3, [])])
def test_a_run_cut_short_is_only_ever_a_further_attempt(retry: int, attempt: int, again: list[int]) -> None:
    run = Run(scheduled_at=NOON, attempt=attempt)
    before = Remembered(schedule="", until=NOON, running=(run,))
    after, runs = interrupted(timer(retry=retry), before, NOON)
    assert [each.attempt for each in runs] == again
    assert after.running == runs
    assert after.outcome == ("" if again else "interrupted")
    assert after.results.failures == (0 if again else 1)


@pytest.mark.invariant("I27")
@given(st.lists(st.sampled_from(["ok", "error/KeyError", "load/ImportModuleError", "throttled/QueueFull"])))
def test_the_results_are_those_of_the_latest_runs_and_survive_a_restart(outcomes: list[str]) -> None:
    one, now = timer(), NOON
    remembered = recalled(one, None, now)
    for outcome in outcomes:
        now += timedelta(minutes=1)
        run = Run(scheduled_at=now)
        remembered = ended(remembered, run, outcome, now, "" if outcome == "ok" else "x" * 999)
        remembered = recalled(one, remembered_text(remembered), now)
    results, at = remembered.results, {outcome: NOON + timedelta(minutes=1 + n) for n, outcome in enumerate(outcomes)}
    failed = [outcome for outcome in outcomes if outcome != "ok"]
    assert results.succeeded == at.pop("ok", None)
    assert results.failed == max(at.values(), default=None)
    assert results.ended == (now if outcomes else None)
    assert results.failures == len(outcomes) - max((n for n, one in enumerate(outcomes, 1) if one == "ok"), default=0)
    assert results.error == (f"{failed[-1]}: {'x' * 999}"[:300] if failed else "")


def test_a_state_of_before_has_no_results() -> None:
    text = '{"schedule":"","until":"2026-11-23T12:00:00Z","last":"2026-11-23T12:00:00Z","outcome":"error/KeyError"}'
    assert recalled(timer(), text, NOON).results == Results()


def served(one: Timer, remembered: Remembered, now: datetime) -> tuple[Remembered, list[datetime]]:
    """All that is due at `now`, and every minute for half an hour after it, each run ended at once; what was run."""
    ran = []
    for minute in range(31):
        at = now + minute * timedelta(minutes=1)
        first = next_after(one.schedule, remembered.until)
        assert first is not None
        if at >= first and (step := plan(one, remembered, first, at)) is not None:
            remembered = stepped(remembered, step)
            if step.run is not None:
                ran.append(step.run.scheduled_at)
                remembered = ended(remembered, step.run, "ok", at)
    return remembered, ran


@pytest.mark.parametrize("missed", ["one", "skip"])
def test_after_a_clock_that_was_ahead_a_timer_goes_on_at_once_and_runs_no_time_twice(missed: str) -> None:
    one = timer(parse_cron("*/5 * * * *"), missed=missed)
    remembered, right = served(one, recalled(one, None, NOON), NOON)
    remembered, ahead = served(one, set_back(remembered, NOON + 9 * HOUR), NOON + 9 * HOUR)
    now = NOON + timedelta(minutes=40)
    remembered = set_back(remembered, now)
    remembered, after = served(one, remembered, now)
    assert remembered.until > now
    assert after == [now + n * timedelta(minutes=5) for n in range(1, 7)]

    remembered, then = served(one, remembered, NOON + 9 * HOUR - timedelta(minutes=10))
    assert then == [NOON + 9 * HOUR - timedelta(minutes=minutes) for minutes in (10, 5)]
    remembered, later = served(one, remembered, NOON + 9 * HOUR + timedelta(minutes=25))
    assert later[0] == NOON + 9 * HOUR + timedelta(minutes=35)
    ran = [*right, *ahead, *after, *then, *later]
    assert len(ran) == len(set(ran))
    assert remembered.done == ()


def test_a_timer_that_never_ran_while_the_clock_was_ahead_begins_anew() -> None:
    found = set_back(recalled(timer(), None, NOON + 9 * HOUR), NOON)
    assert (found.until, found.done) == (NOON, ())


def test_what_an_earlier_release_stored_of_a_clock_that_was_ahead_is_set_back_too() -> None:
    stored = Remembered(schedule=identity(timer().schedule), until=NOON + 9 * HOUR, last=NOON + 9 * HOUR)
    found = set_back(stored, NOON)
    assert (found.until, found.done) == (NOON, (Span(NOON + 9 * HOUR, NOON + 9 * HOUR),))


def test_unnamed_timers_keep_what_is_remembered_of_them_when_they_change_places() -> None:
    daily, hourly = parse_cron("0 9 * * *"), parse_cron("0 * * * *")

    def named(names: dict[str, Schedule]) -> list[Timer]:
        return [Timer(function="f", name=name, schedule=schedule) for name, schedule in names.items()]

    alone = named({"f": daily})
    stored = {one.key: remembered_text(recalled(one, None, NOON)) for one in alone}
    before = named({"f": hourly, "0 9 * * *": daily})
    assert [stored_of(one, stored) for one in before] == [stored["f/f"]] * 2
    assert recalled(before[0], stored_of(before[0], stored), NOON + HOUR).until == NOON + HOUR
    assert recalled(before[1], stored_of(before[1], stored), NOON + HOUR).until == NOON

    moved = stored | {"f/0 9 * * *": remembered_text(recalled(daily_later := before[1], None, NOON + 9 * HOUR))}
    assert recalled(alone[0], stored_of(alone[0], moved), NOON + 10 * HOUR).until == NOON + 9 * HOUR
    assert stored_of(daily_later, moved) == moved["f/0 9 * * *"]
    other = Timer(function="f", name="mine", schedule=daily)
    assert stored_of(other, moved) is None


walks = st.lists(
    st.tuples(
        st.sampled_from(["pass", "set", "restart", "end"]),
        st.one_of(st.floats(0, 120), st.floats(-100_000, 100_000)),
    ),
    max_size=60,
)
timers = st.builds(
    timer,
    st.sampled_from(
        [parse_cron("* * * * *"), parse_cron("30 2 * * *", "Europe/Berlin"), parse_schedule(every_s=7, of="f/t")]
    ),
    missed=st.sampled_from(["one", "skip"]),
    overlap=st.sampled_from(["skip", "queue", "allow"]),
    jitter_s=st.sampled_from([0.0, 30.0]),
)


@pytest.mark.invariant("I27")
@given(timers, walks)
def test_no_scheduled_time_runs_twice_however_the_clock_walks(one: Timer, walk: list[tuple[str, float]]) -> None:
    now, ran = NOON, []
    remembered = recalled(one, None, now)
    for happens, seconds in walk:
        if happens == "restart":
            remembered, _ = interrupted(one, recalled(one, remembered_text(remembered), now), now)
        elif happens == "end" and remembered.running:
            remembered = ended(remembered, remembered.running[0], "ok", now)
        else:
            now += timedelta(seconds=seconds if happens == "set" else abs(seconds))
        first = next_after(one.schedule, remembered.until)
        assert first is not None
        if now < start_at(one, first):
            continue
        step = plan(one, remembered, first, now, busy=bool(remembered.running))
        if step is not None:
            assert remembered.until < step.until <= now
            assert step.following == next_after(one.schedule, step.until)
            remembered = stepped(remembered, step)
            ran += [step.run.scheduled_at] if step.run else []
    assert len(ran) == len(set(ran))
    assert ran == sorted(ran)


@pytest.mark.invariant("I27")
@given(timers, walks)
def test_nor_if_it_goes_on_at_once_after_a_clock_that_was_ahead(one: Timer, walk: list[tuple[str, float]]) -> None:
    now, ran = NOON, []
    remembered = recalled(one, None, now)
    for happens, seconds in walk:
        if happens == "end" and remembered.running:
            remembered = ended(remembered, remembered.running[0], "ok", now)
        elif happens != "restart":
            now += timedelta(seconds=seconds if happens == "set" else abs(seconds))
        remembered = set_back(recalled(one, remembered_text(remembered), now), now)
        first = next_after(one.schedule, remembered.until)
        assert first is not None
        assert remembered.until <= now
        step = plan(one, remembered, first, now, busy=bool(remembered.running)) if now >= start_at(one, first) else None
        if step is not None:
            remembered = stepped(remembered, step)
            ran += [step.run.scheduled_at] if step.run else []
    assert len(ran) == len(set(ran))
