"""Decisions about messages that run as a batch, or do not run. Pure; `bus.retry.decide` decides about a single one.

A batch is one invocation, but its messages are settled one by one. A handler that returns `{"failures": [ids]}` failed
for these and succeeded for the others. A crash, or a failure that would end a message, only says that at least one
message of the batch is bad. Then each runs alone, within the same attempt, so that only the bad one suffers. A
message's last attempt runs alone from the start.
"""

from collections.abc import Sequence
from typing import Any

from msgspec import DecodeError, Struct, ValidationError, json

from bus.event import Event
from bus.message import Delivery, Outgoing
from bus.outcome import Failed, Ok, Outcome
from bus.retry import LONGEST_DELAY_S, Ack, Dead, Decision, Retry, RetryPolicy, decide, retry_or_dead
from bus.store import Settlement
from triggers.queue.celery import NO_TIMES, Times, times
from triggers.queue.codec import bare_event, to_event
from triggers.queue.errors import UnreadableError
from triggers.queue.settings import QueueTrigger


class Tried(Struct, frozen=True):
    """One message of a batch that ran. `attempt` counts from 1; `draw` is a random number in [0, 1)."""

    id: str
    attempt: int
    age_s: float
    draw: float


class OneByOne(Struct, frozen=True):
    """Run each message again as a batch of one, in the same attempt."""


def admit(delivery: Delivery, trigger: QueueTrigger, now_s: float) -> tuple[Event, Decision | None]:
    """Return the event of an `identified` delivery, and the decision if it must not run, now or at all."""
    try:
        event = to_event(delivery, trigger)
        decision: Decision | None = postpone(times(delivery, now_s), now_s)
    except UnreadableError as error:
        event, decision = bare_event(delivery, trigger), Dead("Undecodable", str(error))
    return event, decision or refuse(event, age_s(delivery, now_s), trigger)


def age_s(delivery: Delivery, now_s: float) -> float:
    """The time since the message was first stored; 0 if unknown, or if the clock was set back."""
    return max(0.0, now_s - delivery.stored_at_s) if delivery.stored_at_s is not None else 0.0


def postpone(times: Times, now_s: float) -> Retry | Dead | None:
    """Decide about a Celery task that is not due yet or has expired; None if it may run."""
    if times is NO_TIMES:
        return None
    if times.expires_s is not None and now_s >= times.expires_s:
        return Dead("Expired", f"not run: it expired {now_s - times.expires_s:.0f} s ago")
    if times.due_s is not None and now_s < times.due_s:
        return Retry(min(times.due_s - now_s, LONGEST_DELAY_S), "not run: it is not due yet", counts=False)
    return None


def refuse(event: Event, age_s: float, trigger: QueueTrigger) -> Dead | None:
    """Decide about an event that must not run; None if it may."""
    if event.hops >= trigger.max_hops:
        return Dead("MaxHops", f"a chain of {event.hops} handlers led to this message: it is a loop")
    if event.attempt > trigger.retry.attempts and event.queue is not None and event.queue.redelivered:
        return Dead("Attempts", "each attempt took longer than the broker lets a message be held (consumer_timeout)")
    limit_s = trigger.retry.max_age_s
    if limit_s is not None and age_s > limit_s:
        return Dead("MaxAge", f"not run: it is {age_s:.0f} s old, and the limit is {limit_s:g} s")
    return None


def runs_alone(attempt: int, policy: RetryPolicy) -> bool:
    """Whether the message may not share a batch now: in its last attempt, others could end it, and it them."""
    return 1 < policy.attempts <= attempt


def decide_batch(outcome: Outcome, tried: Sequence[Tried], policy: RetryPolicy) -> "list[Decision] | OneByOne":
    """Decide about each message, in order. Those that the handler listed are retried, and the attempt counts."""
    if isinstance(outcome, Failed):
        decisions = [decide(outcome, one.attempt, one.age_s, policy, one.draw) for one in tried]
        is_counted_crash = outcome.kind == "crash" and any(isinstance(each, Retry) for each in decisions)
        dead = {each.reason for each in decisions if isinstance(each, Dead)}
        is_of_one = is_counted_crash or bool(dead - {"UnknownFunction"})
        return OneByOne() if is_of_one and len(tried) > 1 else decisions
    failed, error = _failures(outcome, frozenset(one.id for one in tried))
    return [
        retry_or_dead(error, one.attempt, one.age_s, policy, draw=one.draw) if one.id in failed else Ack()
        for one in tried
    ]


def settlements(
    deliveries: Sequence[Delivery], decisions: Sequence[Decision], outputs: tuple[Outgoing, ...]
) -> list[Settlement]:
    """Settle the outputs with the first acknowledged message. If there is none, drop them, as after any failure."""
    found = []
    for delivery, decision in zip(deliveries, decisions, strict=True):
        is_done = isinstance(decision, Ack)
        found.append(Settlement(delivery, decision, outputs if is_done else ()))
        outputs = () if is_done else outputs
    return found


class _Answer(Struct):
    failures: Any = None


def _failures(outcome: Ok, ids: frozenset[str]) -> tuple[frozenset[str], str]:
    """Return the failed ids and the error. If the list makes no sense, or has an unknown id, all have failed.

    All messages that share a listed id have failed.
    """
    listed = _listed(outcome)
    if listed is None:
        return frozenset(), ""
    if not isinstance(listed, list) or not all(isinstance(each, str) for each in listed):
        return ids, "error/MalformedFailures: the handler's `failures` is not a list of ids"
    unknown = [each for each in listed if each not in ids]
    if unknown:
        return (
            ids,
            f"error/MalformedFailures: the handler's `failures` has {unknown[0]!r:.200}, which is not in this batch",
        )
    return frozenset(listed), "error/ListedAsFailed: the handler listed it in `failures`"


def _listed(outcome: Ok) -> Any:
    if outcome.content_type != "application/json" or b'"failures"' not in outcome.body:
        return None
    try:
        return json.decode(outcome.body, type=_Answer).failures
    except ValidationError:
        return None  # another value that contains the word
    except (DecodeError, UnicodeDecodeError, RecursionError):
        return False  # such as an id with a lone surrogate, which JSON can express but no message can have
