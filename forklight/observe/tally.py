"""The tally of what triggers report: plain integers, bumped in place and read at a scrape."""

import time
from collections.abc import Sequence
from datetime import datetime

from bus import Failed, Outcome, TimerSection
from bus.invocation import HttpVerdict, Invocation, QueueVerdict
from bus.retry import Ack, Dead, Decision, Release, Retry

CLASSES = ("", "1xx", "2xx", "3xx", "4xx", "5xx")
_NAMES: dict[type[Decision], str] = {Ack: "ack", Retry: "retry", Release: "release", Dead: "dead"}


class Tally:
    """Counts requests, settled messages and runs of timers."""

    def __init__(self) -> None:
        self.requests: dict[str, list[int]] = {}
        """HTTP requests by the reason for their status, then by its class, in the order of CLASSES"""
        self.settled_by: dict[str, dict[str, int]] = {}
        """messages by function and decision: `ack`, `retry`, `release`, `dead`"""
        self.fires: dict[tuple[str, str, str], int] = {}
        """runs by function, timer, and `ok`, the failure's kind, or `left` if a drain could not wait"""
        self.lateness_s: dict[tuple[str, str], float] = {}
        """by function and timer: delay from the scheduled time to the acceptance of the latest run"""

    def report(self, invocation: Invocation) -> None:
        """Count an invocation. Direct calls have no counters here."""
        event, verdict = invocation.event, invocation.verdict
        if isinstance(verdict, HttpVerdict):
            counts = self.requests.get(verdict.reason)
            if counts is None:
                counts = self.requests[verdict.reason] = [0] * len(CLASSES)
            counts[verdict.status // 100] += 1
        elif event is None:
            return
        elif isinstance(verdict, QueueVerdict):
            self._count_settled(event.function or "", verdict.decisions)
        elif event.timer is not None:
            self._count_fire(event.function or "", event.timer, invocation.outcome)

    def _count_settled(self, function: str, decisions: Sequence[Decision]) -> None:
        counts = self.settled_by.get(function)
        if counts is None:
            counts = self.settled_by[function] = {}
        for decision in decisions:
            name = _NAMES[type(decision)]
            counts[name] = counts.get(name, 0) + 1

    def _count_fire(self, function: str, section: TimerSection, outcome: Outcome | None) -> None:
        timer = (function, section.name)
        kind = "left" if outcome is None else str(outcome.kind) if isinstance(outcome, Failed) else "ok"
        self.fires[*timer, kind] = self.fires.get((*timer, kind), 0) + 1
        if outcome is not None and outcome.timings.accepted_ns:
            # The outcome has the time of acceptance only on CLOCK_MONOTONIC.
            ago_s = (time.monotonic_ns() - outcome.timings.accepted_ns) / 1e9
            scheduled_s = datetime.fromisoformat(section.scheduled_at).timestamp()
            self.lateness_s[timer] = time.time() - ago_s - scheduled_s
