"""A start that keeps failing is tried again ever later, up to a minute; after a healthy period, at once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.backoff import HEALTHY_S, LONGEST_S, Backoff

S = 1_000_000_000
NOW = 5 * S
TIMES = st.integers(0, 10**18)


def after(failures: int) -> Backoff:
    backoff = Backoff()
    for _ in range(failures):
        backoff = backoff.failed(NOW)
    return backoff


def test_the_delay_doubles_up_to_a_minute() -> None:
    assert [after(failures).remaining_s(NOW) for failures in range(9)] == [0, 1, 2, 4, 8, 16, 32, 60, 60]


def test_the_wait_gets_shorter_as_time_passes_and_then_is_over() -> None:
    backoff = after(3)
    assert backoff.remaining_s(NOW + S) == 3
    assert backoff.remaining_s(NOW + 4 * S) == 0
    assert backoff.remaining_s(NOW + 99 * S) == 0


def test_a_failure_after_health_waits_for_nothing_and_forgets_the_others() -> None:
    assert after(5).failed(NOW, HEALTHY_S) == Backoff(0, NOW)
    assert after(5).failed(NOW, HEALTHY_S - 0.1).remaining_s(NOW) == 32


def test_what_worked_and_ended_is_made_again_at_once_but_not_twice_in_a_row() -> None:
    once = Backoff().ended(NOW, lived_s=0.1)
    assert once.remaining_s(NOW) == 0
    twice = once.ended(NOW, lived_s=0.1)
    assert twice.remaining_s(NOW) > 0
    assert twice.ended(NOW, lived_s=HEALTHY_S).remaining_s(NOW) == 0


@pytest.mark.invariant("I11")
@given(TIMES, st.integers(0, 100_000), st.floats(0, HEALTHY_S, exclude_max=True))
def test_no_number_of_failures_waits_longer_than_the_longest(now_ns: int, failures: int, lived_s: float) -> None:
    before = Backoff(failures, now_ns)
    failed = before.failed(now_ns, lived_s)
    assert failed.failures == failures + 1
    assert 1 <= failed.remaining_s(now_ns) <= LONGEST_S
    assert failed.failed(now_ns, lived_s).remaining_s(now_ns) >= failed.remaining_s(now_ns)
