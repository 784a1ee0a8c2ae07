"""A run of a timer as an event, and how its outcome is told in one word. Pure."""

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
    """The event of this attempt; its id names the scheduled time and stays the same through every attempt."""
    return _event(timer, run, event_id(timer, run.scheduled_at))


def to_event_now(timer: Timer, now: datetime) -> Event:
    """The event of a run that somebody asked for, scheduled now; its id is no scheduled time's."""
    return _event(timer, Run(scheduled_at=now), str(uuid4()))


def told(outcome: Outcome) -> str:
    """`ok`, or kind/code."""
    return f"{outcome.kind}/{outcome.code}" if isinstance(outcome, Failed) else "ok"


def again_after_s(timer: Timer, run: Run, outcome: Outcome, draw: float) -> float | None:
    """How long to wait before a further attempt, by the table that messages have; None: there is none.

    `draw` is a random number in [0, 1). Unlike a message, a run does not wait for ever: an attempt that found no
    capacity, or a function that does not load, counts.
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
