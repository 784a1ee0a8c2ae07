"""The settle table of ARCHITECTURE.md §5, row by row, and what no row may do."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.outcome import ExceptionName, Failed, FailureKind, Ok, Outcome
from bus.retry import (
    BACKOFF_LIMIT_S,
    LONGEST_DELAY_S,
    Ack,
    Dead,
    Decision,
    Release,
    Retry,
    RetryPolicy,
    backoff_s,
    decide,
)

POLICY = RetryPolicy(attempts=3, backoff_s=2.0)
RETRY, RELEASE, DEAD = Retry, Release, Dead

TABLE: list[tuple[FailureKind, str, type[Decision], str]] = [
    ("error", "ValueError", RETRY, "counts"),
    ("error", "Retry", RETRY, "counts"),
    ("error", "ResultTooLarge", RETRY, "counts"),
    ("error", "Undecodable", DEAD, "Undecodable"),
    ("error", "Rejected", DEAD, "Rejected"),
    ("error", "Unroutable", DEAD, "Unroutable"),
    ("timeout", "Timeout", RETRY, "counts"),
    ("crash", "Signal", RETRY, "counts"),
    ("crash", "Exit", RETRY, "counts"),
    ("crash", "MemoryExceeded", RETRY, "counts"),
    ("crash", "InstanceKilled", RELEASE, "no attempt"),
    ("load", "HandlerNotFound", RELEASE, "no attempt"),
    ("load", "ImportModuleError", RELEASE, "no attempt"),
    ("load", "SyntaxError", RELEASE, "no attempt"),
    ("load", "InitFailed", RELEASE, "no attempt"),
    ("load", "InitTimeout", RELEASE, "no attempt"),
    ("load", "CrashLoop", RELEASE, "no attempt"),
    ("protocol", "Breach", RETRY, "counts"),
    ("store", "NotStored", RELEASE, "no attempt"),
    ("throttled", "QueueFull", RELEASE, "no attempt"),
    ("throttled", "WaitExpired", RELEASE, "no attempt"),
    ("throttled", "MachineMemory", RELEASE, "no attempt"),
    ("throttled", "Draining", RELEASE, "no attempt"),
    ("unknown_function", "UnknownFunction", DEAD, "UnknownFunction"),
]


def failed(kind: FailureKind = "error", code: str = "ValueError", retry_after_s: float | None = None) -> Failed:
    return Failed(kind=kind, code=ExceptionName(code), message="no such order: 17", retry_after_s=retry_after_s)


@pytest.mark.parametrize(("kind", "code", "decision", "told"), TABLE)
def test_each_row_of_the_table(kind: FailureKind, code: str, decision: type[Decision], told: str) -> None:
    first = decide(failed(kind, code), 1, 0.0, POLICY, 0.5)
    assert isinstance(first, decision)
    last = decide(failed(kind, code), POLICY.attempts, 0.0, POLICY, 0.5)
    error = f"{kind}/{code}: no such order: 17"
    if told == "counts":
        assert first == Retry(1.0, error)
        assert last == Dead("Attempts", error)
    elif told == "no attempt":
        assert last == first
    else:
        assert first == last == Dead(told, error)  # type: ignore[arg-type]


def test_the_table_has_every_kind_of_failure() -> None:
    assert {kind for kind, *_ in TABLE} == set(get_args(FailureKind))


def test_what_the_handler_returned_is_done_whatever_its_status() -> None:
    assert decide(Ok(status=500), 1, 0.0, POLICY, 0.5) == Ack()


def test_a_consumer_pauses_as_long_as_the_outcome_says() -> None:
    assert decide(failed("throttled", "QueueFull", 2.5), 1, 0.0, POLICY, 0.5) == Release(2.5)
    assert decide(failed("load", "InitFailed"), 1, 0.0, POLICY, 0.5) == Release(1.0)
    assert decide(failed("crash", "InstanceKilled"), 1, 0.0, POLICY, 0.5) == Release(0.0)


def test_the_handler_may_say_when_but_not_how_often() -> None:
    asked = failed("error", "Retry", 40.0)
    assert decide(asked, 2, 0.0, POLICY, 0.5) == Retry(40.0, "error/Retry: no such order: 17")
    assert isinstance(decide(asked, 3, 0.0, POLICY, 0.5), Dead)
    assert decide(failed("error", "Retry", 0.0), 1, 0.0, POLICY, 0.5) == Retry(0.0, "error/Retry: no such order: 17")


def test_a_message_that_would_be_too_old_at_its_next_attempt_is_dead_now() -> None:
    policy = RetryPolicy(backoff_s=2.0, max_age_s=10.0)
    assert isinstance(decide(failed(), 1, 9.0, policy, 0.5), Retry)
    assert decide(failed(), 1, 9.1, policy, 0.5) == Dead("MaxAge", "error/ValueError: no such order: 17")


def test_what_the_queue_holds_is_none_of_the_messages_age() -> None:
    policy = RetryPolicy(max_age_s=10.0)
    assert decide(failed("throttled", "QueueFull"), 1, 1e9, policy, 0.5) == Release(1.0)


def test_back_off_doubles_up_to_its_limit() -> None:
    top = 1 - 2**-53
    longest = [round(backoff_s(attempt, POLICY, top), 6) for attempt in (1, 2, 3, 8, 9, 1000)]
    assert longest == [2.0, 4.0, 8.0, 256.0, BACKOFF_LIMIT_S, BACKOFF_LIMIT_S]


outcomes: st.SearchStrategy[Outcome] = st.one_of(
    st.builds(Ok, status=st.integers(100, 599)),
    st.builds(
        Failed,
        kind=st.sampled_from(get_args(FailureKind)),
        code=st.sampled_from([code for _, code, *_ in TABLE]) | st.text(max_size=10),
        message=st.text(max_size=10),
        retry_after_s=st.none() | st.floats(0, 1e300),
    ),
)
policies = st.builds(
    RetryPolicy,
    attempts=st.integers(1, 50),
    backoff_s=st.floats(0, 1e4),
    max_age_s=st.none() | st.floats(0, 1e6),
)


@pytest.mark.invariant("I20")
@given(outcomes, st.integers(1, 60), st.floats(0, 1e7), policies, st.floats(0, 1, exclude_max=True))
def test_no_decision_breaks_the_policy(
    outcome: Outcome, attempt: int, age_s: float, policy: RetryPolicy, draw: float
) -> None:
    decision = decide(outcome, attempt, age_s, policy, draw)
    assert isinstance(decision, Ack) == isinstance(outcome, Ok), "nothing but Ok acks"
    if isinstance(decision, Retry):
        assert isinstance(outcome, Failed)
        assert attempt < policy.attempts
        assert policy.max_age_s is None or age_s + decision.delay_s <= policy.max_age_s
        if outcome.retry_after_s is None:
            assert 0 <= decision.delay_s <= min(BACKOFF_LIMIT_S, policy.backoff_s * 2.0 ** (attempt - 1))
        else:
            assert decision.delay_s == min(LONGEST_DELAY_S, outcome.retry_after_s)
    if isinstance(decision, Release):
        assert 0 <= decision.pause_s <= BACKOFF_LIMIT_S
