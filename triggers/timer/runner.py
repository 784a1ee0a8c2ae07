"""The timer trigger at work: it sends an event over the bus at each scheduled time, and stores how the run ended.

Theory of operation. One task keeps the time of all timers. Each round it takes the due timers from a heap, asks the
planner what to do, stores the decisions in one transaction together with the runs that ended since, and only then
starts the new runs, each as a task of its own. So every started run is known after a crash, and no scheduled time runs
twice. If the store fails, nothing starts, and the same times are tried again.

The same task replaces timers between two rounds. An unchanged timer is not affected; a changed one keeps its state.

The task checks the wall clock at least every `LOOK_S`, to notice a clock that was set or a machine that slept. It
computes each wait from the wall clock, so nothing drifts.

No exception leaves a runner that has started. An exception in a round or a run is a bug of ours: it is logged with its
traceback, the round is repeated, and the run has failed with it.
"""

import logging
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Self

import anyio
import anyio.abc
from msgspec.structs import replace

from bus.bus import Bus
from bus.event import Event
from bus.in_flight import InFlight
from bus.keeping import keep_doing
from bus.outcome import Failed, Outcome
from bus.store import Facts, StoreError
from bus.times import rfc3339
from triggers.timer import planner
from triggers.timer.alarms import Alarms
from triggers.timer.announcements import Announcements
from triggers.timer.clock import Clock, SystemClock
from triggers.timer.events import again_after_s, outcome_text, to_event, to_event_now
from triggers.timer.ledger import Ledger
from triggers.timer.planner import Remembered, Run, Step
from triggers.timer.schedule import next_after
from triggers.timer.settings import Timer
from triggers.timer.work import TimerStatistics, TimerWork, take_over

log = logging.getLogger(__name__)

LOOK_S = 10.0
"""The longest time between two checks of the wall clock."""
STORE_AGAIN_S = 1.0
UNWIND_S = 1.0
"""How long cancelled runs may take to end."""
LAST_STORE_S = 5.0
"""How long storing the last outcomes may take after a drain."""


class _Replacement:
    """The timers to replace all others with, and the stored states."""

    def __init__(self, timers: Sequence[Timer], stored: dict[str, str]) -> None:
        self.timers = timers
        self.stored = stored
        self.done = anyio.Event()


class TimerRunner:
    """Runs all timers of a server, which may be replaced. Use `running` once."""

    def __init__(
        self,
        bus: Bus,
        facts: Facts,
        timers: Sequence[Timer],
        *,
        clock: Clock | None = None,
    ) -> None:
        self._bus = bus
        self._timers = timers
        self._clock = clock or SystemClock()
        self._ledger = Ledger(facts)
        self._works: dict[str, TimerWork] = {}
        self._gone: dict[str, TimerWork] = {}
        """Timers that are no longer configured and still have runs."""
        self._alarms: Alarms[tuple[TimerWork, int]] = Alarms()
        """Timers with the generation that the alarm was set for."""
        self._replacement: _Replacement | None = None
        self._announcements = Announcements(bus)
        self._scopes: set[anyio.CancelScope] = set()
        """One for each scheduled run."""
        self._draining = anyio.Event()
        self._open = InFlight()
        """Runs in progress or about to be stored, and runs by hand."""

    def __repr__(self) -> str:
        state = "draining" if self._draining.is_set() else "running"
        return (
            f"<TimerRunner: {state}, {len(self._works)} timers, {self._open.count} runs, next at {self._alarms.next}>"
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        """Fire timers inside the block; leaving it cancels the runs that are left. Raises StoreError on entering."""
        interrupted = self._recall(await self._ledger.recall(), self._clock.now())
        async with anyio.create_task_group() as keeping:
            keeping.start_soon(self._keep_time)
            async with anyio.create_task_group() as self._runs:
                for work, run in interrupted:
                    self._begin(work, run)
                try:
                    yield self
                finally:
                    with anyio.CancelScope(shield=True):
                        await self.drain(0)
            keeping.cancel_scope.cancel()

    def statistics(self) -> list[TimerStatistics]:
        """Return the state of every timer, in the order of configuration."""
        return [work.statistics() for work in self._works.values()]

    async def replace(self, timers: Sequence[Timer]) -> None:
        """Replace all timers. Present runs finish; those of removed timers get no further attempts.

        Raises StoreError; then nothing has changed. One call at a time.
        """
        stored = await self._ledger.recall()
        replacement = self._replacement = _Replacement(timers, stored)
        self._ledger.wake.set()
        await replacement.done.wait()

    async def run(self, function: str, name: str | None = None) -> Outcome:
        """Run a timer once now, apart from its schedule; without `name` the function's only one.

        Raises LookupError if there is none, or more than one. The run is not stored, and gets no further attempts.
        """
        work = self._find(function, name)
        event = to_event_now(work.timer, self._clock.now())
        self._open.begin()
        try:
            return await self._call(work, event)
        finally:
            self._open.end()

    async def drain(self, timeout_s: float) -> None:
        """Fire no more timers, let runs finish for up to `timeout_s`, and interrupt the others.

        A run that waits for a further attempt is interrupted too, and gets it after the next start.
        """
        self._draining.set()
        with anyio.move_on_after(timeout_s):
            await self._open.wait_none()
        for scope in self._scopes:
            scope.cancel()
        with anyio.move_on_after(UNWIND_S):
            await self._open.wait_none()
        with anyio.move_on_after(LAST_STORE_S):
            await self._store(())

    def _find(self, function: str, name: str | None) -> TimerWork:
        found = [work for work in self._works.values() if work.timer.function == function]
        if name is not None:
            found = [work for work in found if work.timer.name == name]
        if not found:
            raise LookupError(f"{function} has no timer{'' if name is None else f' {name!r}'}")
        if len(found) > 1:
            names = ", ".join(repr(work.timer.name) for work in found)
            raise LookupError(f"{function} has {len(found)} timers, say which: {names}")
        return found[0]

    def _recall(self, stored: dict[str, str], now: datetime) -> list[tuple[TimerWork, Run]]:
        """Start every timer, and return the interrupted runs that get a further attempt."""
        return [again for timer in self._timers for again in self._recall_one(timer, stored, now)]

    def _recall_one(self, timer: Timer, stored: dict[str, str], now: datetime) -> list[tuple[TimerWork, Run]]:
        found = planner.recalled(timer, planner.stored_of(timer, stored), now)
        if found.until > now:
            text = "timer %s: the clock was ahead before, up to %s: it continues now, and no scheduled time runs twice"
            log.warning(text, timer.key, rfc3339(found.until))
            found = planner.set_back(found, now)
        remembered, runs = planner.interrupted(timer, found, now)
        for run in found.running:
            log.warning("timer %s: its run for %s was interrupted", timer.key, rfc3339(run.scheduled_at))
        work = TimerWork(timer, remembered, _next(timer, remembered.until))
        self._works[timer.key] = work
        self._ledger.changed(work)
        self._arm(work)
        return [(work, run) for run in runs]

    def _apply(self, replacement: "_Replacement", now: datetime) -> None:
        """Replace the timers. Called between two rounds, when no step is pending."""
        before, self._works = self._works, {}
        taken = take_over(replacement.timers, before, self._gone)
        for timer in replacement.timers:
            work = taken.get(timer.key)
            if work is None:
                for again in self._recall_one(timer, replacement.stored, now):
                    self._begin(*again)
                continue
            if work.timer != timer or work.is_gone:
                found = planner.recalled(timer, planner.remembered_text(work.remembered), now)
                self._change(work, timer, found)
            self._works[timer.key] = work
        for work in before.values():
            work.end()
        self._gone = {work.timer.key: work for work in (*self._gone.values(), *before.values()) if work.is_busy}
        self._timers = replacement.timers
        self._announcements.clear()  # a function may have a new pool, which was told nothing
        for work in self._works.values():
            if work.next is not None:
                self._announcements.add(work.timer.function, planner.start_at(work.timer, work.next))

    def _change(self, work: TimerWork, timer: Timer, remembered: Remembered) -> None:
        """Change the state or the configuration of a timer."""
        work.change(timer, remembered, _next(timer, remembered.until))
        self._ledger.changed(work)
        self._arm(work)

    async def _keep_time(self) -> None:
        """Plan and store, for ever; the only task that does."""
        self._last = self._clock.now()
        await keep_doing("keeping the time", self._round)

    async def _round(self) -> None:
        self._ledger.wake = anyio.Event()
        last, self._last = self._last, self._clock.now()
        if self._last < last - timedelta(seconds=1):
            self._set_back(self._last, last - self._last)
        if self._replacement is not None:
            replacement, self._replacement = self._replacement, None
            try:
                self._apply(replacement, self._last)
            finally:
                replacement.done.set()
        self._announcements.announce(self._last)
        steps = [] if self._draining.is_set() else self._plan(self._last)
        if await self._store(steps):
            self._carry_out(steps)
            await self._clock.wait(self._ledger.wake, self._sleep_s())
        else:
            await self._clock.wait(anyio.Event(), STORE_AGAIN_S)

    def _set_back(self, now: datetime, by: timedelta) -> None:
        """Adapt to a clock that was set back, so that some handled times are still to come."""
        log.warning("the clock was set back by %s: timers continue, and no scheduled time runs twice", by)
        for work in self._works.values():
            if work.remembered.until > now:
                self._change(work, work.timer, planner.set_back(work.remembered, now))

    def _plan(self, now: datetime) -> list[tuple[TimerWork, Step]]:
        steps = []
        for _, (work, generation) in self._alarms.take(now):
            if generation != work.generation:
                continue
            assert work.next is not None
            work.is_armed = False
            try:
                step = planner.plan(work.timer, work.remembered, work.next, now, busy=work.is_busy, waited=work.is_held)
            except Exception:  # as in `_next`
                log.exception(
                    "timer %s: planning failed, and it does not fire any more; please report this", work.timer.key
                )
                work.next = None
                continue
            if step is None:
                work.is_held = True
            else:
                steps.append((work, step))
        self._open.begin(len(steps))
        return steps

    async def _store(self, steps: Sequence[tuple[TimerWork, Step]]) -> bool:
        """Store the steps and all changes. If that fails, undo the steps and return False."""
        try:
            await self._ledger.store(steps)
        except Exception as error:
            for work, _ in steps:
                self._arm(work)
                self._open.end()
            if not isinstance(error, StoreError):
                raise
            log.error("timers cannot be stored, so none runs: %s", error)
            return False
        return True

    def _carry_out(self, steps: Sequence[tuple[TimerWork, Step]]) -> None:
        for work, step in steps:
            log.debug("timer %s: %r", work.timer.key, step)
            work.remembered = planner.stepped(work.remembered, step)
            work.next = step.following
            work.skipped += step.missed
            work.is_held = False
            self._arm(work)
            if step.missed and (reason := _why_skipped(work.timer, step)):
                log.warning("timer %s: %d skipped: %s", work.timer.key, step.missed, reason)
            if step.run is not None:
                self._begin(work, step.run)
            self._open.end()

    def _arm(self, work: TimerWork) -> None:
        """Set an alarm for the start of the next run, unless there is one."""
        if work.next is None or work.is_armed:
            return
        work.is_armed = True
        at = planner.start_at(work.timer, work.next)
        self._alarms.set(at, (work, work.generation))
        self._announcements.add(work.timer.function, at)

    def _sleep_s(self) -> float:
        now = self._clock.now()
        moments = [at for at in (self._alarms.next, self._announcements.next) if at is not None]
        if not moments or self._draining.is_set():
            return LOOK_S
        return max(0.0, min(LOOK_S, (min(moments) - now).total_seconds()))

    def _begin(self, work: TimerWork, run: Run) -> None:
        self._open.begin()
        self._runs.start_soon(self._run, work, run)

    async def _run(self, work: TimerWork, run: Run) -> None:
        """Run one scheduled time. Its state is running until it needs no further attempt."""
        with anyio.CancelScope() as scope:
            self._scopes.add(scope)
            try:
                await self._attempt(work, run)
            except Exception as error:
                log.exception("timer %s: a run failed unexpectedly; please report this", work.timer.key)
                self._end(work, run, f"error/{type(error).__name__}", str(error))
            finally:
                self._scopes.discard(scope)
                self._open.end()

    async def _attempt(self, work: TimerWork, run: Run) -> None:
        if run.attempt > 1:
            await self._ledger.wait_stored()
        while True:
            outcome = await self._call(work, to_event(work.timer, run))
            pause_s = again_after_s(work.timer, run, outcome, random.random())  # noqa: S311
            if pause_s is None or work.is_gone:
                break
            await self._clock.wait(self._draining, pause_s)
            if self._draining.is_set():
                return
            run = replace(run, attempt=run.attempt + 1)
            self._remember(work, planner.tried_again(work.remembered, run))
            await self._ledger.wait_stored()
        self._end(work, run, outcome_text(outcome), outcome.message if isinstance(outcome, Failed) else "")

    def _end(self, work: TimerWork, run: Run, how: str, message: str) -> None:
        log.debug("timer %s: the run of %s ended: %s", work.timer.key, run.scheduled_at, how)
        self._remember(work, planner.ended(work.remembered, run, how, self._clock.now(), message))
        if work.is_held:
            self._arm(work)
            self._ledger.wake.set()

    async def _call(self, work: TimerWork, event: Event) -> Outcome:
        outcome = await self._bus.call_reported(event)
        work.runs += 1
        return outcome

    def _remember(self, work: TimerWork, remembered: planner.Remembered) -> None:
        work.remembered = remembered
        self._ledger.changed(work)


def _next(timer: Timer, after: datetime) -> datetime | None:
    """Return the first scheduled time later than `after`, or None; also if finding it fails."""
    try:
        return next_after(timer.schedule, after)
    except Exception:  # a schedule is checked when it is read, but not for every year
        log.exception(
            "timer %s: its next time cannot be computed, and it does not fire any more; please report this", timer.key
        )
        return None


def _why_skipped(timer: Timer, step: Step) -> str:
    """Why times have no run of their own; empty if another run stands for them."""
    return step.skipped or ("missed" if timer.missed == "skip" and step.run and not step.run.missed else "")
