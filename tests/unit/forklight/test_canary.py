"""When a canary is aborted by itself."""

from datetime import UTC, datetime
from math import comb
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from forklight.deploying.canary import WINDOW_S, CanaryWatch, Counts, Pair, Window, chance, must_abort
from forklight.serving.deployment import ApplicationStatus, ReleaseStatus
from tests.kit.deploying import Recorder


def pair(live: tuple[int, int], canary: tuple[int, int]) -> Pair:
    """Failures and events of both."""
    return Pair(Counts(live[1], live[0]), Counts(canary[1], canary[0]))


@pytest.mark.parametrize(
    ("live", "canary"),
    [
        ((0, 20), (20, 20)),
        ((0, 180), (6, 20)),  # the table of docs/deploy.md, each at the first that is enough
        ((0, 20), (15, 20)),
        ((0, 40), (17, 40)),
        ((225, 4500), (54, 500)),
        ((900, 9000), (200, 1000)),
    ],
)
def test_a_canary_that_fails_more_often_is_aborted(live: tuple[int, int], canary: tuple[int, int]) -> None:
    assert must_abort(pair(live, canary))


@pytest.mark.parametrize(
    ("live", "canary"),
    [
        ((0, 190), (19, 19)),  # too few events
        ((0, 0), (100, 100)),  # nothing to compare with
        ((0, 180), (5, 20)),  # it could be chance
        ((0, 20), (14, 20)),
        ((0, 40), (16, 40)),
        ((225, 4500), (53, 500)),
        ((180, 180), (20, 20)),  # the live version is no better
        ((100_000, 1_000_000), (140_000, 1_000_000)),  # certain, and not half as often again
        ((0, 900), (0, 100)),
    ],
)
def test_any_other_canary_goes_on(live: tuple[int, int], canary: tuple[int, int]) -> None:
    assert not must_abort(pair(live, canary))


counts = st.integers(0, 60).flatmap(lambda events: st.tuples(st.integers(0, events), st.just(events)))


@pytest.mark.invariant("I53")
@given(live=counts, canary=counts)
def test_chance_is_what_counting_all_cases_gives(live: tuple[int, int], canary: tuple[int, int]) -> None:
    failures, events = live[0] + canary[0], live[1] + canary[1]
    cases = sum(
        comb(failures, count) * comb(events - failures, canary[1] - count)
        for count in range(canary[0], min(failures, canary[1]) + 1)
    )
    assert chance(pair(live, canary)) == pytest.approx(cases / comb(events, canary[1]), rel=1e-6, abs=1e-12)


@pytest.mark.invariant("I53")
@given(live=counts, canary=counts)
def test_a_canary_that_fails_no_more_often_is_never_aborted(live: tuple[int, int], canary: tuple[int, int]) -> None:
    if canary[0] * live[1] <= live[0] * canary[1]:
        assert not must_abort(pair(live, canary))


@pytest.mark.invariant("I53")
@given(steps=st.lists(st.tuples(st.integers(1, 40), st.integers(0, 5), st.integers(0, 5)), max_size=30))
def test_a_window_has_what_was_counted_within_it(steps: list[tuple[int, int, int]]) -> None:
    window, now_s, latest = Window(), 0.0, Pair()
    history = [(now_s, latest)]
    window.note({"f": latest}, now_s)
    for tens_s, live, canary in steps:
        now_s += tens_s * 10
        latest = Pair(Counts(latest.live.events + live), Counts(latest.canary.events + canary))
        history.append((now_s, latest))
        before = [pair for at_s, pair in history if at_s <= max(0.0, now_s - WINDOW_S)][-1]
        assert window.note({"f": latest}, now_s) == {"f": latest.since(before)}


def test_counting_that_begins_anew_is_no_negative_number() -> None:
    assert Counts(3, 1).since(Counts(10, 2)) == Counts(3, 1)


async def test_a_bad_canary_is_aborted_once_its_window_shows_it(tmp_path: Path) -> None:
    """What was before a change of its share is not held against it, and the rule can be switched off."""
    deployer, is_on = Recorder(tmp_path), True
    counts = {("f", 1): Counts(1000, 0), ("f", 2): Counts(), ("only", 2): Counts(50, 50)}
    release = ReleaseStatus(
        number=2, package="0" * 64, at=datetime.now(UTC), by="ci", size_bytes=1, functions={"f": "", "only": ""}
    )
    app = ApplicationStatus(name="shop", releases=(release,), live=1, canary=2, canary_percent=10)
    deployer.status = (app, ApplicationStatus(name="other", releases=(), live=1))
    watch = CanaryWatch(deployer, lambda name, number: counts.get((name, number)), lambda: is_on)

    await watch.look(0)
    counts |= {("f", 1): Counts(1180, 0), ("f", 2): Counts(20, 20)}
    is_on = False
    await watch.look(1)
    is_on = True
    await watch.look(2)
    deployer.status = (replace(app, canary_percent=20),)
    await watch.look(3)
    assert deployer.asked == [], "each of these looks was the first of a window"
    counts |= {("f", 1): Counts(1360, 1), ("f", 2): Counts(40, 40)}
    await watch.look(4)
    told = "f failed 20 of 20 events as version 2, and 1 of 180 as version 1"
    assert deployer.asked == [("abort", "shop", "", told)]
