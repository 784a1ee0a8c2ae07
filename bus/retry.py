"""What happens to a message, given how its invocation ended: the settle table of ARCHITECTURE.md §5. Pure.

Retries back off exponentially with full jitter (Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog,
2015): the n-th failure waits a random time between 0 and `backoff * 2^(n-1)`, at most `BACKOFF_LIMIT_S`.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from bus.outcome import Code, ExceptionName, Failed, FailureKind, Outcome

BACKOFF_LIMIT_S = 300.0
LONGEST_DELAY_S = 30 * 86400.0
"""The longest delay, whatever a handler asks for: every store supports it."""
_PAUSE_S = 1.0
"""How long the consumer pauses after a failure that was not the message's fault, unless the failure says so."""

Reason = Literal["Attempts", "Expired", "MaxAge", "MaxHops", "Rejected", "Undecodable", "UnknownFunction", "Unroutable"]


class RetryPolicy(Struct, frozen=True, kw_only=True):
    """How often, and for how long, a message is attempted."""

    attempts: Annotated[int, Meta(ge=1)] = 5
    """The message becomes a dead letter after this many failed attempts."""
    backoff_s: float = 1.0
    """The second attempt waits a random time up to this ("full jitter"), which doubles each time up to 5 minutes."""
    max_age_s: float | None = None
    """A message first stored longer ago than this becomes a dead letter, whether it was attempted or not."""


class Ack(Struct, frozen=True):
    """Done: remove the message and store the handler's outputs."""


class Retry(Struct, frozen=True):
    """Try again `delay_s` from now. This attempt counted, and failed with `error`."""

    delay_s: float
    error: str
    counts: bool = True
    """False if the message did not run because it is not due yet, as `error` says."""


class Release(Struct, frozen=True):
    """Return the message to its queue, uncounted. The consumer pauses for `pause_s`, then until there is capacity."""

    pause_s: float


class Dead(Struct, frozen=True):
    """Move the message to the dead letter queue, with the reason and the last error."""

    reason: Reason
    error: str


Decision = Ack | Retry | Release | Dead

_ACK = Ack()
_ANOTHERS_FAULT: tuple[FailureKind, Code] = ("crash", "InstanceKilled")
_AT_ONCE: dict[tuple[FailureKind, Code | ExceptionName], Reason] = {
    ("error", "Undecodable"): "Undecodable",
    ("error", "BodyTooLarge"): "Undecodable",
    ("error", "Rejected"): "Rejected",
    ("error", "Unroutable"): "Unroutable",
    ("unknown_function", "UnknownFunction"): "UnknownFunction",
}


def decide(outcome: Outcome, attempt: int, age_s: float, policy: RetryPolicy, draw: float) -> Decision:
    """Decide after attempt number `attempt`, counted from 1. `draw` is a random number in [0, 1)."""
    if not isinstance(outcome, Failed):
        return _ACK
    if outcome.kind in ("throttled", "load", "store"):
        return Release(_PAUSE_S if outcome.retry_after_s is None else min(BACKOFF_LIMIT_S, outcome.retry_after_s))
    if (outcome.kind, outcome.code) == _ANOTHERS_FAULT:
        return Release(0.0)
    error = f"{outcome.kind}/{outcome.code}: {outcome.message}"
    reason = _AT_ONCE.get((outcome.kind, outcome.code))
    if reason is not None:
        return Dead(reason, error)
    return retry_or_dead(error, attempt, age_s, policy, draw=draw, after_s=outcome.retry_after_s)


def retry_or_dead(
    error: str, attempt: int, age_s: float, policy: RetryPolicy, *, draw: float, after_s: float | None = None
) -> Decision:
    """Decide after a counted attempt failed; `after_s` is the delay that the handler asked for instead of back-off."""
    if attempt >= policy.attempts:
        return Dead("Attempts", error)
    delay_s = backoff_s(attempt, policy, draw) if after_s is None else min(LONGEST_DELAY_S, after_s)
    if policy.max_age_s is not None and age_s + delay_s > policy.max_age_s:
        return Dead("MaxAge", error)
    return Retry(delay_s, error)


def backoff_s(attempt: int, policy: RetryPolicy, draw: float) -> float:
    """The delay after the `attempt`-th failure; `draw` is in [0, 1)."""
    return draw * min(BACKOFF_LIMIT_S, policy.backoff_s * 2.0 ** min(attempt - 1, 32))
