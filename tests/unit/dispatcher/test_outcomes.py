"""Outcomes of events that reached no instance: each names the place, the cause and, if time helps, when to retry."""

import time

import pytest
from msgspec.structs import replace

from dispatcher import outcomes
from dispatcher.settings import PoolSettings
from sandbox.errors import LoadFailed

POOL = PoolSettings(max_instances=3, max_waiting=9, max_waiting_memory_bytes=1000, max_wait_s=2.5)


@pytest.mark.parametrize(
    ("waiting", "bound"), [(9, "max_waiting = 9"), (4, "they hold max_waiting_memory, 1000 bytes")]
)
def test_it_says_which_bound_was_met(waiting: int, bound: str) -> None:
    outcome = outcomes.queue_full("f", POOL, waiting)
    assert f"({bound})" in outcome.message
    assert outcome.retry_after_s == outcomes.RETRY_AFTER_S


def test_with_several_slots_they_are_what_is_taken() -> None:
    pool = replace(POOL, concurrency=500)
    full, late = outcomes.queue_full("f", pool, 9), outcomes.wait_expired("f", pool)
    assert "all 500 slots (concurrency) of each of the 3 instances of 'f' (max_instances) are taken" in full.message
    assert late.message == (
        "no slot of 'f' came free within 2.5 s (max_wait); it may have 3 instances (max_instances) with 500 slots each "
        "(concurrency), and 9 events may wait (max_waiting)"
    )


def test_a_function_that_cannot_load_tells_why_and_when_it_is_tried_again() -> None:
    error = LoadFailed("SyntaxError", "line 3", "Traceback ...", time.monotonic_ns() + 3600 * 10**9)
    outcome = outcomes.not_loaded(error)

    assert (outcome.kind, outcome.code, outcome.message) == ("load", "SyntaxError", "line 3")
    assert outcome.traceback == "Traceback ..."
    assert outcome.retry_after_s is not None
    assert 0 < outcome.retry_after_s <= 3600


@pytest.mark.parametrize("retry_at_ns", [None, 1])
def test_without_a_back_off_nobody_is_told_to_wait(retry_at_ns: int | None) -> None:
    assert outcomes.not_loaded(LoadFailed("InitFailed", "it ended", "", retry_at_ns)).retry_after_s is None
