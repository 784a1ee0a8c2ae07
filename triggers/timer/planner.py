"""What a timer does now, given what is remembered of it: pure decisions.

Theory of operation. Of each timer one instant is remembered, `until`: every scheduled time up to it has been dealt
with. Whatever happens (a tick, a stop of days, a clock set forward) is one question: which scheduled times lie between
`until` and now? Answering it moves `until` forward, and it never moves back, so no scheduled time is ever dealt with
twice, wherever the clock goes.

A clock that was ahead has run times that are still to come. When it is right again `until` goes back to now, so that
nothing waits for hours, and the times that were run are remembered as spans: when they come they are `done` already.

A run is written into what is remembered before it starts and taken out after it has ended. One that is still there at a
start was interrupted: it is never run again as if nothing had been, only as a further attempt, if it may have one.
"""

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Literal
from zlib import crc32

from msgspec import DecodeError, Struct, json
from msgspec.structs import replace

from bus.times import rfc3339
from triggers.timer.schedule import Due, due_between, identity, missed_between
from triggers.timer.settings import Timer

LATE_S = 5.0
"""A run that starts later than this after it was due is past due; with `missed = "skip"` it is not started at all."""
_MOST_SPANS = 16
_MICROSECOND = timedelta(microseconds=1)


class Run(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One run of a timer, as it is remembered while it goes."""

    scheduled_at: datetime
    missed: int = 0
    past_due: bool = False
    attempt: int = 1


class Span(Struct, frozen=True):
    """The scheduled times from `since` to `to`, both among them."""

    since: datetime
    to: datetime


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
    since: datetime | None = None
    """Every scheduled time from here to `until` had its turn; before it some were passed over for a later one."""
    done: tuple[Span, ...] = ()
    """Scheduled times after `until` that had their turn while the clock was ahead."""


class Step(Struct, frozen=True, kw_only=True):
    """All up to `until` is dealt with: by `run`, or by none for the reason `skipped`. Next due at `following`."""

    until: datetime
    following: datetime | None
    run: Run | None = None
    skipped: Literal["", "missed", "overlap", "done"] = ""
    missed: int = 0
    """How many scheduled times have no run of their own."""


def event_id(timer: Timer, scheduled_at: datetime) -> str:
    """The same for every attempt at one scheduled time, and for nothing else."""
    return f"{timer.key}/{rfc3339(scheduled_at.astimezone(UTC))}"


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
    until = max(now, found.last or now)
    return replace(found, schedule=begun.schedule, until=until, since=until)


def stored_of(timer: Timer, stored: Mapping[str, str]) -> str | None:
    """What is stored of the timer, whichever of its keys it had: the latest of those with its schedule, else its own.

    `stored`: what `remembered_text` gave, by key.
    """
    found = {key: stored[key] for key in timer.keys if key in stored}
    same = []
    for text in found.values():
        with suppress(DecodeError):
            remembered = json.decode(text, type=Remembered)
            if remembered.schedule == identity(timer.schedule):
                same.append((remembered.until, text))
    return max(same)[1] if same else found.get(timer.key)


def set_back(remembered: Remembered, now: datetime) -> Remembered:
    """What to go on with when the clock is behind what is remembered: it was ahead before, or was set back."""
    if remembered.until <= now:
        return remembered
    since, done = remembered.since or remembered.last, remembered.done
    if since is not None:
        done = (*done, Span(max(now, since), remembered.until))
    if len(done) > _MOST_SPANS:
        done = (Span(min(span.since for span in done), max(span.to for span in done)),)
    return replace(remembered, until=now, since=None, done=done)


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
    latest, count = _without_done(timer, remembered, due)
    if latest is None:
        return Step(until=due.latest, following=due.following, skipped="done")
    is_late = (now - delay - latest).total_seconds() > LATE_S
    if is_late and timer.missed == "skip" and not waited:
        return Step(until=due.latest, following=due.following, skipped="missed", missed=count)
    if busy and timer.overlap == "skip":
        return Step(until=due.latest, following=due.following, skipped="overlap", missed=count)
    missed = 0 if timer.missed == "skip" and not waited else count - 1
    run = Run(scheduled_at=latest, missed=missed, past_due=is_late or missed > 0)
    return Step(until=due.latest, following=due.following, run=run, missed=count - 1)


def _without_done(timer: Timer, remembered: Remembered, due: Due) -> tuple[datetime | None, int]:
    """The latest time that is due and had no turn yet, None if all had; how many there are."""
    latest: datetime | None = due.latest
    count = due.count
    for span in sorted(remembered.done, key=lambda span: span.since, reverse=True):
        if latest is None or latest < span.since:
            continue
        before = max(remembered.until, span.since - _MICROSECOND)
        _, had_turn = missed_between(timer.schedule, before, min(span.to, latest))
        count = max(1, count - had_turn)
        if latest <= span.to:
            latest, _ = missed_between(timer.schedule, remembered.until, before)
    return latest, count


def stepped(remembered: Remembered, step: Step) -> Remembered:
    """What is to be remembered with the step, before its run starts."""
    done = tuple(span for span in remembered.done if span.to > step.until)
    begins = remembered.since is None or step.missed > (0 if step.run else 1)
    since = (step.run.scheduled_at if step.run else step.until) if begins else remembered.since
    after = replace(remembered, until=step.until, since=since, done=done)
    if step.skipped == "done":
        return after
    if step.run is None:
        return replace(after, outcome="skipped")
    return replace(after, last=step.run.scheduled_at, running=(*remembered.running, step.run))


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
