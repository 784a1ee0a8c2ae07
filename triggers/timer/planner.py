"""What a timer does now, given what is remembered of it: pure decisions.

Theory of operation. Of each timer one instant is remembered, `until`: every scheduled time up to it has been dealt
with. Whatever happens (a tick, a stop of days, a clock set forward) is one question: which scheduled times lie between
`until` and now? Answering it moves `until` forward, and it never moves back, so no scheduled time is ever dealt with
twice, wherever the clock goes. A clock set back leaves `until` in the future: nothing runs until it is reached again.

A run is written into what is remembered before it starts and taken out after it has ended. One that is still there at a
start was interrupted: it is never run again as if nothing had been, only as a further attempt, if it may have one.
"""

from datetime import UTC, datetime, timedelta
from typing import Literal
from zlib import crc32

from msgspec import DecodeError, Struct, json
from msgspec.structs import replace

from triggers.timer.schedule import due_between, identity
from triggers.timer.settings import Timer

LATE_S = 5.0
"""A run that starts later than this after it was due is past due; with `missed = "skip"` it is not started at all."""


class Run(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One run of a timer, as it is remembered while it goes."""

    scheduled_at: datetime
    missed: int = 0
    past_due: bool = False
    attempt: int = 1


class Remembered(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What survives a restart of one timer."""

    schedule: str
    """`schedule.identity`"""
    until: datetime
    """Every scheduled time up to here has been dealt with."""
    last: datetime | None = None
    """The latest scheduled time that was run."""
    outcome: str = ""
    """How the latest run ended, or that it was skipped: `ok`, kind/code, `skipped`, `interrupted`."""
    running: tuple[Run, ...] = ()


class Step(Struct, frozen=True, kw_only=True):
    """All up to `until` is dealt with: by `run`, or by none for the reason `skipped`. Next due at `following`."""

    until: datetime
    following: datetime | None
    run: Run | None = None
    skipped: Literal["", "missed", "overlap"] = ""
    missed: int = 0
    """How many scheduled times have no run of their own."""


def event_id(timer: Timer, scheduled_at: datetime) -> str:
    """The same for every attempt at one scheduled time, and for nothing else."""
    return f"{timer.key}/{utc_text(scheduled_at)}"


def utc_text(at: datetime) -> str:
    """RFC 3339 in UTC."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def start_at(timer: Timer, scheduled_at: datetime) -> datetime:
    """When its run starts: some part of `jitter_s` later, always the same one."""
    if not timer.jitter_s:
        return scheduled_at
    share = crc32(event_id(timer, scheduled_at).encode()) / 2**32
    return scheduled_at + timedelta(seconds=share * timer.jitter_s)


def recalled(timer: Timer, stored: str | None, now: datetime) -> Remembered:
    """What to go on with at a start; `stored` is what `remembered_text` gave.

    A timer never seen before begins now: once that is stored, the first missed time will be noticed. One whose schedule
    was changed begins now too, and nothing of the new schedule is past due.
    """
    begun = Remembered(schedule=identity(timer.schedule), until=now)
    if stored is None:
        return begun
    try:
        found = json.decode(stored, type=Remembered)
    except DecodeError:  # by another release; a run too few is better than two
        return begun
    if found.schedule == begun.schedule:
        return found
    return replace(found, schedule=begun.schedule, until=max(now, found.last or now))


def remembered_text(remembered: Remembered) -> str:
    """For `recalled`."""
    return json.encode(remembered).decode()


def plan(
    timer: Timer, remembered: Remembered, first: datetime, now: datetime, *, busy: bool = False, waited: bool = False
) -> Step | None:
    """What to do now. `first` is the first time after `until`; None: nothing yet.

    `busy`: a run still goes. `waited`: the times were held back while a run went (`overlap = "queue"`), so that they
    have not been missed. What was missed counts only up to `schedule.COUNT_LIMIT`.
    """
    delay = start_at(timer, first) - first
    due = due_between(timer.schedule, remembered.until, now - delay)
    if due is None or (busy and timer.overlap == "queue"):
        return None
    is_late = (now - delay - due.latest).total_seconds() > LATE_S
    if is_late and timer.missed == "skip" and not waited:
        return Step(until=due.latest, following=due.following, skipped="missed", missed=due.count)
    if busy and timer.overlap == "skip":
        return Step(until=due.latest, following=due.following, skipped="overlap", missed=due.count)
    run = Run(scheduled_at=due.latest, missed=due.count - 1, past_due=is_late or due.count > 1)
    return Step(until=due.latest, following=due.following, run=run, missed=run.missed)


def stepped(remembered: Remembered, step: Step) -> Remembered:
    """What is to be remembered with the step, before its run starts."""
    if step.run is None:
        return replace(remembered, until=step.until, outcome="skipped")
    return replace(remembered, until=step.until, last=step.run.scheduled_at, running=(*remembered.running, step.run))


def tried_again(remembered: Remembered, run: Run) -> Remembered:
    """A further attempt is about to start; `run` has its number."""
    others = tuple(run if each.scheduled_at == run.scheduled_at else each for each in remembered.running)
    return replace(remembered, running=others)


def ended(remembered: Remembered, run: Run, outcome: str) -> Remembered:
    """The run is over, and will not be tried again."""
    others = tuple(each for each in remembered.running if each.scheduled_at != run.scheduled_at)
    return replace(remembered, running=others, outcome=outcome)


def interrupted(timer: Timer, remembered: Remembered) -> tuple[Remembered, tuple[Run, ...]]:
    """At a start: what to go on with, and the runs that were cut short and get a further attempt, numbered so."""
    again = []
    for run in remembered.running:
        if run.attempt <= timer.retry:
            further = replace(run, attempt=run.attempt + 1, past_due=True)
            again.append(further)
            remembered = tried_again(remembered, further)
        else:
            remembered = ended(remembered, run, "interrupted")
    return remembered, tuple(again)
