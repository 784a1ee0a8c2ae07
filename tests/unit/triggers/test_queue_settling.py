"""What becomes of the messages of a batch, and of those that are not run."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import json

from bus.event import Event, QueueSection
from bus.message import Delivery, Message, Outgoing
from bus.outcome import ExceptionName, Failed, FailureKind, Ok
from bus.retry import Ack, Dead, Decision, Release, Retry, RetryPolicy
from triggers.queue.settings import QueueTrigger
from triggers.queue.settling import OneByOne, Tried, decide_batch, refuse, runs_alone, settlements

POLICY = RetryPolicy(attempts=3, backoff_s=2.0)
TRIED = [Tried(name, attempt, 0.0, 0.5) for name, attempt in (("a", 1), ("b", 2), ("c", 3))]
OUTPUT = Outgoing(queue="bills", message=Message(id="o1"))


def returned(value: Any) -> Ok:
    return Ok(body=json.encode(value), content_type="application/json")


def failed(kind: FailureKind, code: str) -> Failed:
    return Failed(kind=kind, code=ExceptionName(code), message="no")


def told(decisions: list[Decision] | OneByOne) -> list[str]:
    assert isinstance(decisions, list)
    return [type(decision).__name__ for decision in decisions]


@pytest.mark.parametrize(
    "outcome",
    [
        Ok(status=204),
        returned({"failures": []}),
        returned({"failures": None}),
        returned({"other": {"failures": ["a"]}}),
        returned([{"failures": ["a"]}]),
        Ok(body=b'the "failures" were none', content_type="text/plain"),
    ],
)
def test_a_batch_that_lists_no_failures_is_done(outcome: Ok) -> None:
    assert decide_batch(outcome, TRIED, POLICY) == [Ack(), Ack(), Ack()]


def test_only_what_is_listed_is_retried_and_it_counts() -> None:
    error = "error/ListedAsFailed: the handler listed it in `failures`"
    assert decide_batch(returned({"failures": ["a", "c", "a"]}), TRIED, POLICY) == [
        Retry(1.0, error),
        Ack(),
        Dead("Attempts", error),
    ]


@pytest.mark.parametrize("failures", ["a", {"a": 1}, 7, True, [7], [["a"]], ["a", None], ["a", "z"], ["z"]])
def test_failures_that_nobody_can_read_fail_the_whole_batch(failures: Any) -> None:
    decisions = decide_batch(returned({"failures": failures}), TRIED, POLICY)
    assert told(decisions) == ["Retry", "Retry", "Dead"]
    assert isinstance(decisions, list)
    assert isinstance(decisions[0], Retry)
    assert decisions[0].error.startswith("error/MalformedFailures: the handler's `failures`")


@pytest.mark.parametrize(
    "body", [b'{"failures":["\\udc80"]}', b'{"failures":["\xff"]}', b'{"failures"', b'{"failures":' + b"[" * 100_000]
)
def test_failures_that_are_no_json_fail_the_whole_batch(body: bytes) -> None:
    decisions = decide_batch(Ok(body=body, content_type="application/json"), TRIED, POLICY)
    assert told(decisions) == ["Retry", "Retry", "Dead"]


def test_messages_that_share_a_listed_id_have_all_failed() -> None:
    twins = [Tried("a", 1, 0.0, 0.5), Tried("a", 1, 0.0, 0.5), Tried("b", 1, 0.0, 0.5)]
    assert told(decide_batch(returned({"failures": ["a"]}), twins, POLICY)) == ["Retry", "Retry", "Ack"]


def test_a_failure_is_an_attempt_of_each() -> None:
    assert told(decide_batch(failed("error", "ValueError"), TRIED[:2], POLICY)) == ["Retry", "Retry"]


@pytest.mark.parametrize("kind", ["error", "timeout", "crash", "protocol"])
def test_a_failure_that_would_be_the_end_of_one_is_found_out_one_by_one(kind: FailureKind) -> None:
    assert decide_batch(failed(kind, "Any"), TRIED, POLICY) == OneByOne()
    assert told(decide_batch(failed(kind, "Any"), TRIED[2:], POLICY)) == ["Dead"]
    once = RetryPolicy(attempts=1)
    assert decide_batch(failed(kind, "Any"), TRIED[:2], once) == OneByOne()


def test_a_batch_that_is_too_old_to_be_tried_again_is_found_out_one_by_one() -> None:
    old = [Tried("a", 1, 100.0, 0.5), Tried("b", 1, 0.0, 0.5)]
    policy = RetryPolicy(attempts=3, backoff_s=2.0, max_age_s=50.0)
    assert decide_batch(failed("error", "ValueError"), old, policy) == OneByOne()


@pytest.mark.parametrize("code", ["Signal", "Exit", "MemoryExceeded"])
def test_a_crash_is_found_out_one_by_one_at_once(code: str) -> None:
    assert decide_batch(failed("crash", code), TRIED[:2], POLICY) == OneByOne()
    assert told(decide_batch(failed("crash", code), TRIED[:1], POLICY)) == ["Retry"]


def test_a_last_attempt_is_in_no_batch() -> None:
    assert [runs_alone(attempt, POLICY) for attempt in (1, 2, 3, 4)] == [False, False, True, True]
    assert not runs_alone(1, RetryPolicy(attempts=1))


@pytest.mark.parametrize(
    ("kind", "code"),
    [("throttled", "QueueFull"), ("load", "InitFailed"), ("store", "NotStored"), ("crash", "InstanceKilled")],
)
def test_what_is_no_attempt_releases_all(kind: FailureKind, code: str) -> None:
    assert told(decide_batch(failed(kind, code), TRIED, POLICY)) == ["Release"] * 3


@pytest.mark.parametrize("code", ["Undecodable", "Rejected", "Unroutable"])
def test_one_bad_message_does_not_kill_its_neighbours(code: str) -> None:
    assert decide_batch(failed("error", code), TRIED, POLICY) == OneByOne()
    assert decide_batch(failed("error", code), TRIED[:1], POLICY) == [Dead(code, f"error/{code}: no")]  # type: ignore[arg-type]


def test_a_function_that_does_not_exist_kills_all_at_once() -> None:
    assert told(decide_batch(failed("unknown_function", "UnknownFunction"), TRIED, POLICY)) == ["Dead"] * 3


def deliveries(count: int) -> list[Delivery]:
    return [Delivery(queue="q", message=Message(id=str(number)), lease=number) for number in range(count)]


def test_outputs_go_with_the_first_that_is_done() -> None:
    settled = settlements(deliveries(3), [Retry(1.0, "no"), Ack(), Ack()], (OUTPUT,))
    assert [one.outputs for one in settled] == [(), (OUTPUT,), ()]
    assert [one.delivery.lease for one in settled] == [0, 1, 2]


decisions = st.sampled_from([Ack(), Retry(1.0, "no"), Release(1.0), Dead("Attempts", "no")])


@pytest.mark.invariant("I21")
@given(st.lists(decisions))
def test_outputs_are_stored_once_or_dropped_where_nothing_is_done(drawn: list[Decision]) -> None:
    settled = settlements(deliveries(len(drawn)), drawn, (OUTPUT,))
    assert [one.decision for one in settled] == drawn
    carrying = [one for one in settled if one.outputs]
    assert len(carrying) == (Ack() in drawn)
    assert all(one.decision == Ack() for one in carrying)


@pytest.mark.invariant("I20")
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
def test_whatever_failures_is_each_message_has_its_decision(failures: Any) -> None:
    made = decide_batch(returned({"failures": failures}), TRIED, POLICY)
    assert isinstance(made, list)
    assert len(made) == 3
    assert {type(decision) for decision in made} <= {Ack, Retry, Dead}


TRIGGER = QueueTrigger(
    function="f", queue="q", dead_letter="dead", slots=1, max_hops=3, retry=RetryPolicy(max_age_s=60.0)
)


def test_a_loop_ends_after_so_many_handlers() -> None:
    events = [Event(source="/test", type="test", hops=hops) for hops in (0, 2, 3, 4)]
    refused = [refuse(event, 0.0, TRIGGER) for event in events]
    assert refused[:2] == [None, None]
    assert refused[2] == Dead("MaxHops", "a chain of 3 handlers led to this message: it is a loop")
    assert refused[3] is not None


def test_what_is_too_old_is_not_run() -> None:
    event = Event(source="/test", type="test")
    assert refuse(event, 60.0, TRIGGER) is None
    assert refuse(event, 61.0, TRIGGER) == Dead("MaxAge", "not run: it is 61 s old, and the limit is 60 s")
    assert refuse(event, 1e9, QueueTrigger(function="f", queue="q", dead_letter="dead", slots=1)) is None


def test_decisions_that_release_say_for_how_long() -> None:
    made = decide_batch(Failed(kind="throttled", code="QueueFull", message="no", retry_after_s=2.5), TRIED, POLICY)
    assert made == [Release(2.5)] * 3


def test_what_the_broker_took_away_in_every_attempt_is_not_run_again() -> None:
    def event(attempt: int, *, redelivered: bool) -> Event:
        section = QueueSection(name="q", attempt=attempt, redelivered=redelivered)
        return Event(source="/test", type="test", attempt=attempt, queue=section)

    assert refuse(event(5, redelivered=True), 0.0, TRIGGER) is None
    assert refuse(event(6, redelivered=False), 0.0, TRIGGER) is None
    dead = refuse(event(6, redelivered=True), 0.0, TRIGGER)
    assert dead is not None
    assert (dead.reason, "consumer_timeout" in dead.error) == ("Attempts", True)
