"""The pace that a transfer must keep, and the memory that connections share."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggers.http.socket.budget import Budget
from triggers.http.socket.deadline import Pace


def test_silence_ends_after_the_timeout() -> None:
    pace = Pace(100.0, 30.0, 500)
    assert pace.deadline_s == 130.0
    pace.moved(0, 129.0)
    assert pace.deadline_s == 130.0
    pace.moved(1_000_000, 129.0)
    assert pace.deadline_s == 159.0, "bytes that came early do not buy a longer silence"


def test_a_fast_enough_transfer_may_last_forever() -> None:
    pace = Pace(0.0, 30.0, 500, total_bytes=77)
    for second in range(1, 10_000):
        pace.moved(77 + 500 * second, second)
        assert pace.deadline_s == second + 30.0


@pytest.mark.parametrize("rate", [1, 100, 499])
def test_a_dripping_transfer_has_only_its_credit(rate: int) -> None:
    pace, second = Pace(0.0, 30.0, 500), 0
    while second < pace.deadline_s:
        second += 1
        pace.moved(rate * second, second)
    assert second == pytest.approx(30.0 * 500 / (500 - rate), abs=1)


@pytest.mark.invariant("I33")
@given(st.lists(st.tuples(st.floats(0, 100), st.integers(0, 10_000)), max_size=50))
def test_only_slowness_shortens_a_deadline(moves: list[tuple[float, int]]) -> None:
    pace, now_s, total, last_s = Pace(0.0, 10.0, 100), 0.0, 0, -inf
    for later_s, more in moves:
        now_s, total = now_s + later_s, total + more
        pace.moved(total, now_s)
        last_s = now_s if more else last_s
        assert pace.deadline_s <= 10.0 + total / 100
        assert pace.deadline_s <= max(last_s, 0.0) + 10.0


def test_only_a_single_holder_may_exceed_a_budget(caplog: pytest.LogCaptureFixture) -> None:
    budget = Budget(100, setting="max_x", what="things")
    assert budget.take(60)
    assert budget.take(40, held_bytes=60)
    assert not budget.take(1)
    assert not budget.take(1)
    assert [record.getMessage() for record in caplog.records] == [
        "things use all 100 bytes of http.max_x: requests get 503 until some are released"
    ]
    budget.give_back(100)
    assert budget.take(500), "a single holder may exceed the limit"
    assert budget.take(500, held_bytes=500)
    assert not budget.take(1)
    assert len(caplog.records) == 2, "it warns again after half of the budget was free"
    budget.give_back(1000)
    assert budget.used_bytes == 0
