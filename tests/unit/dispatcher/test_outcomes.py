"""Outcomes of events that reached no instance: each names the place, the cause and, if time helps, when to retry."""

import time

import pytest

from bus import Failed
from dispatcher import outcomes
from dispatcher.settings import PoolSettings
from sandbox.errors import LoadFailed

POOL = PoolSettings(max_instances=3, max_waiting=9, max_waiting_memory_bytes=1000, max_wait_s=2.5)
TAKEN = "all 3 instances of 'f' (max_instances) are taken"
BOUNDS = "it may have 3 (max_instances), and 9 events may wait (max_waiting)"


@pytest.mark.parametrize(
    ("outcome", "kind", "code", "message"),
    [
        (outcomes.unknown_function("f"), "unknown_function", "UnknownFunction", "there is no function 'f'"),
        (
            outcomes.queue_full("f", POOL, 9),
            "throttled",
            "QueueFull",
            f"{TAKEN}, and 9 events wait already (max_waiting = 9)",
        ),
        (
            outcomes.queue_full("f", POOL, 4),
            "throttled",
            "QueueFull",
            f"{TAKEN}, and 4 events wait already (they hold max_waiting_memory, 1000 bytes)",
        ),
        (
            outcomes.wait_expired("f", POOL),
            "throttled",
            "WaitExpired",
            f"no instance of 'f' came free within 2.5 s (max_wait); {BOUNDS}",
        ),
        (outcomes.draining(), "throttled", "Draining", "the server is shutting down"),
        (outcomes.gone_twice("f"), "crash", "Exit", "two instances of 'f' were dead before the event reached them"),
        (outcomes.unwritable("no"), "error", "Undecodable", "the event cannot be handed to a handler: no"),
    ],
)
def test_what_it_says(outcome: Failed, kind: str, code: str, message: str) -> None:
    assert (outcome.kind, outcome.code, outcome.message) == (kind, code, message)
    assert outcome.retry_after_s == (outcomes.RETRY_AFTER_S if kind == "throttled" else None)


def test_no_instance_took_part() -> None:
    outcome = outcomes.queue_full("greet", POOL, 9)
    assert (outcome.start, outcome.instance, outcome.timings.finished_ns) == (None, "", 0)


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
