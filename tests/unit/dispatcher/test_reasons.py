"""Reasons of events that waited: their content and their bound."""

from dispatcher.actions import Statistics
from dispatcher.reasons import MOST_REASONS, Reason, Reasons
from dispatcher.settings import PoolSettings
from sandbox.causes import Cause

POOL = PoolSettings(max_instances=8, concurrency=3)


def found(busy: int = 0) -> Statistics:
    return Statistics(starting=1, idle=0, busy=busy, leaving=2, waiting=3, calls=busy)


def test_each_attempt_has_its_own() -> None:
    reasons = Reasons()
    reasons.note("a", 1, found(1), POOL, 0)
    reasons.note("a", 2, found(2), POOL, 1)
    reasons.add_cause("a", 2, Cause("rested", "5"))
    reasons.add_cause("b", 1, Cause("new"))
    assert reasons.of("a", 1) == Reason(
        busy=1, calls=1, starting=1, leaving=2, waiting=3, max_instances=8, slots=3, begun=0
    )
    second = reasons.of("a", 2)
    assert second is not None
    assert (second.busy, second.begun, second.cause) == (2, 1, Cause("rested", "5"))
    assert reasons.of("b", 1) is None


def test_the_oldest_are_forgotten() -> None:
    reasons = Reasons()
    for number in range(MOST_REASONS + 10):
        reasons.note(str(number), 1, found(number), POOL, 0)
        reasons.add_cause(str(number), 1, Cause("new"))
    assert reasons.of("9", 1) is None
    kept = reasons.of("10", 1)
    assert kept is not None
    assert (kept.busy, kept.cause) == (10, Cause("new"))
    reasons.note("9", 1, found(), POOL, 0)
    again = reasons.of("9", 1)
    assert again is not None
    assert again.cause is None, "of an event with the same id, later"
