"""A run of a timer as an event, its outcome as a word, and its next attempt. Pure."""

from datetime import UTC, datetime
from urllib.parse import quote
from uuid import uuid4

from bus.event import Event, TimerSection
from bus.outcome import Failed, Outcome
from bus.retry import Ack, Dead, Release, Retry, RetryPolicy, backoff_s, decide
from bus.times import rfc3339
from triggers.timer.planner import Run, event_id
from triggers.timer.schedule import local
from triggers.timer.settings import Timer


def to_event(timer: Timer, run: Run) -> Event:
    """Return the event of this attempt. Its id names the scheduled time, and is the same in every attempt."""
    return _event(timer, run, event_id(timer, run.scheduled_at))


def to_event_now(timer: Timer, now: datetime) -> Event:
    """Return the event of a run by hand, scheduled now, with a random id."""
    return _event(timer, Run(scheduled_at=now), str(uuid4()))


def outcome_text(outcome: Outcome) -> str:
    """Return `ok`, or kind/code."""
    return f"{outcome.kind}/{outcome.code}" if isinstance(outcome, Failed) else "ok"


def again_after_s(timer: Timer, run: Run, outcome: Outcome, draw: float) -> float | None:
    """Return the delay before another attempt, by the settle table of messages; None if there is none.

    `draw` is a random number in [0, 1). Unlike with messages, an attempt counts even if there was no capacity or the
    function did not load, so that a run does not wait for ever.
    """
    policy = RetryPolicy(attempts=timer.retry + 1, backoff_s=timer.backoff_s)
    match decide(outcome, run.attempt, 0.0, policy, draw):
        case Retry(delay_s=delay_s):
            return delay_s
        case Release(pause_s=pause_s) if run.attempt <= timer.retry:
            return max(pause_s, backoff_s(run.attempt, policy, draw))
        case Ack() | Dead() | Release():
            return None


def _event(timer: Timer, run: Run, id_: str) -> Event:
    section = TimerSection(
        name=timer.name,
        schedule=timer.schedule.text,
        timezone=timer.schedule.timezone,
        scheduled_at=local(timer.schedule, run.scheduled_at).isoformat(),
        past_due=run.past_due,
        missed=run.missed,
    )
    return Event(
        source=f"/forklight/timer/{quote(timer.function, safe='')}/{quote(timer.name, safe='')}",
        type="forklight.timer",
        id=id_,
        time=rfc3339(run.scheduled_at.astimezone(UTC)),
        function=timer.function,
        timer=section,
        attempt=run.attempt,
    )
