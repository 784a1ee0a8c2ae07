"""What a timer does now, given its stored state: pure decisions.

Theory of operation. The state of a timer has one instant, `until`: every scheduled time up to it has been handled.
Whatever happens (a tick, days without a server, a clock set forward), there is one question: which scheduled times lie
between `until` and now? Answering it moves `until` forward, never back, so that no scheduled time is handled twice.

While a clock was ahead, times have run that are still to come. Once it is right again, `until` goes back to now, so
that nothing waits for hours, and the state keeps the times that ran as spans: when they come, they are already `done`.

A run is added to the state before it starts and removed after it has ended. A run that is still there when the server
starts was interrupted. It only runs again as a further attempt, if the timer has one left.
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
"""A run that would start later than this is past due; with `missed = "skip"` it does not start at all."""
INTERRUPTED = "interrupted"
_LONGEST_ERROR = 300
"""In characters: it is stored with the timer, and shown in a line."""
_MOST_SPANS = 16
_MICROSECOND = timedelta(microseconds=1)


class Run(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One run of a timer, as stored while it is in progress."""

    scheduled_at: datetime
    missed: int = 0
    past_due: bool = False
    attempt: int = 1


class Results(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How the runs of a timer ended, each with its last attempt; `skipped` times have no run."""

    ended: datetime | None = None
    """When the latest run ended."""
    succeeded: datetime | None = None
    failed: datetime | None = None
    """When the latest run ended that succeeded, and the latest that failed."""
    failures: int = 0
    """How many have failed since the last that succeeded."""
    error: str = ""
    """Why the latest failed: kind/code or `interrupted`, and the message."""


class Span(Struct, frozen=True):
    """The scheduled times from `since` to `to`, inclusive."""

    since: datetime
    to: datetime


class Remembered(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The stored state of one timer."""

    schedule: str
    """`schedule.identity`"""
    until: datetime
    """Every scheduled time up to here has been handled."""
    last: datetime | None = None
    """The latest scheduled time that ran."""
    outcome: str = ""
    """Of the latest time: `ok`, kind/code, `skipped` or `interrupted`."""
    results: Results = Results()
    running: tuple[Run, ...] = ()
    since: datetime | None = None
    """From here to `until` every scheduled time was handled by itself; before it, some in favour of a later one."""
    done: tuple[Span, ...] = ()
    """Scheduled times after `until` that were handled while the clock was ahead."""


class Step(Struct, frozen=True, kw_only=True):
    """Handles all times up to `until`: with `run`, or without one for the reason `skipped`. Next due at `following`."""

    until: datetime
    following: datetime | None
    run: Run | None = None
    skipped: Literal["", "missed", "overlap", "done"] = ""
    missed: int = 0
    """The number of scheduled times without a run of their own."""


def event_id(timer: Timer, scheduled_at: datetime) -> str:
    """Return the id of all attempts at one scheduled time."""
    return f"{timer.key}/{rfc3339(scheduled_at.astimezone(UTC))}"


def start_at(timer: Timer, scheduled_at: datetime) -> datetime:
    """Return when the run starts: later by a part of `jitter_s` that is always the same for this time."""
    if not timer.jitter_s:
        return scheduled_at
    share = crc32(event_id(timer, scheduled_at).encode()) / 2**32
    return scheduled_at + timedelta(seconds=share * timer.jitter_s)


def recalled(timer: Timer, stored: str | None, now: datetime) -> Remembered:
    """Return the state at a start; `stored` comes from `remembered_text`.

    A new timer begins now, and once that is stored, missed times will be noticed. A timer whose schedule changed begins
    now too, so that no time of the new schedule is past due.
    """
    begun = Remembered(schedule=identity(timer.schedule), until=now)
    if stored is None:
        return begun
    try:
        found = json.decode(stored, type=Remembered)
    except DecodeError:  # from another release: a missed run is better than a repeated one
        return begun
    if found.schedule == begun.schedule:
        return found
    until = max(now, found.last or now)
    return replace(found, schedule=begun.schedule, until=until, since=until)


def stored_of(timer: Timer, stored: Mapping[str, str]) -> str | None:
    """Find the timer's stored state under any of its keys: the latest one with its schedule, else that of its own key.

    `stored` has the results of `remembered_text` by key.
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
    """Return the state to continue with when the clock is behind it: it was ahead before, or was set back."""
    if remembered.until <= now:
        return remembered
    since, done = remembered.since or remembered.last, remembered.done
    if since is not None:
        done = (*done, Span(max(now, since), remembered.until))
    if len(done) > _MOST_SPANS:
        done = (Span(min(span.since for span in done), max(span.to for span in done)),)
    return replace(remembered, until=now, since=None, done=done)


def remembered_text(remembered: Remembered) -> str:
    """Return the state as text, for `recalled`."""
    return json.encode(remembered).decode()


def plan(
    timer: Timer, remembered: Remembered, first: datetime, now: datetime, *, busy: bool = False, waited: bool = False
) -> Step | None:
    """Return the step to take now, or None if nothing is to do yet. `first` is the first time after `until`.

    `busy`: a run is in progress. `waited`: the times were held back by a run (`overlap = "queue"`), so they were not
    missed. Missed times are counted up to `schedule.COUNT_LIMIT`.
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
    """Return the latest due time that was not handled yet, or None, and the number of such times."""
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
    """Return the state with the step, to be stored before its run starts."""
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
    """Return the state when a further attempt starts; `run` has its number."""
    others = tuple(run if each.scheduled_at == run.scheduled_at else each for each in remembered.running)
    return replace(remembered, running=others)


def ended(remembered: Remembered, run: Run, outcome: str, now: datetime, message: str = "") -> Remembered:
    """Return the state after the run's last attempt. `message` explains a failure."""
    others = tuple(each for each in remembered.running if each.scheduled_at != run.scheduled_at)
    results = replace(remembered.results, ended=now)
    if outcome == "ok":
        results = replace(results, succeeded=now, failures=0)
    else:
        error = f"{outcome}: {message}" if message else outcome
        results = replace(results, failed=now, failures=results.failures + 1, error=error[:_LONGEST_ERROR])
    return replace(remembered, running=others, outcome=outcome, results=results)


def interrupted(timer: Timer, remembered: Remembered, now: datetime) -> tuple[Remembered, tuple[Run, ...]]:
    """Return the state at a start, and the interrupted runs that get a further attempt, with its number."""
    again = []
    for run in remembered.running:
        if run.attempt <= timer.retry:
            further = replace(run, attempt=run.attempt + 1, past_due=True)
            again.append(further)
            remembered = tried_again(remembered, further)
        else:
            remembered = ended(remembered, run, INTERRUPTED, now, "the server ended during the run")
    return remembered, tuple(again)
