"""What is remembered of events that waited, and for how many of them."""

from dispatcher.reasons import MOST_REASONS, Reason, Reasons


def reason(busy: int = 0) -> Reason:
    return Reason(busy=busy, starting=0, leaving=0, waiting=0, max_instances=8, begun=1)


def test_each_attempt_has_its_own() -> None:
    reasons = Reasons()
    reasons.note("a", 1, reason(1))
    reasons.note("a", 2, reason(2))
    reasons.add_cause("a", 2, "it rested")
    reasons.add_cause("b", 1, "of nobody")
    first, second = reasons.of("a", 1), reasons.of("a", 2)
    assert first is not None
    assert second is not None
    assert (first.busy, first.cause, second.busy, second.cause) == (1, "", 2, "it rested")
    assert reasons.of("b", 1) is None


def test_the_oldest_are_forgotten() -> None:
    reasons = Reasons()
    for number in range(MOST_REASONS + 10):
        reasons.note(str(number), 1, reason(number))
    assert reasons.of("9", 1) is None
    assert reasons.of("10", 1) == reason(10)
