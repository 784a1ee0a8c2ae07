"""The tally of what triggers report: plain numbers, changed in place, read at scrape."""

import time
from collections.abc import Sequence
from datetime import datetime

from bus import Event, Failed, Outcome
from bus.retry import Decision
from forklight.observe.journal import Journal
from triggers.http.exchange import Exchange

_CLASSES = ("", "1xx", "2xx", "3xx", "4xx", "5xx")


class Tally:
    """Stands before the journal: what it counts, it passes on."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.settled_by: dict[tuple[str, str], int] = {}
        """messages by function and decision: `ack`, `retry`, `release`, `dead`"""
        self.fires: dict[tuple[str, str, str], int] = {}
        """runs by function, timer, and `ok`, the failure's kind or `left`: a drain could not wait for it"""
        self.lateness_s: dict[tuple[str, str], float] = {}
        """by function and timer: how long after its scheduled time the latest run was accepted"""

        self.requests: dict[tuple[str, str], int] = {}
        """HTTP requests by the class of their status, such as `4xx`, and the reason for it"""

    def requested(self, exchange: Exchange) -> None:
        """An HTTP request has its answer, or lost its client; as `Journal.request`."""
        key = (_CLASSES[exchange.status // 100], exchange.reason)
        self.requests[key] = self.requests.get(key, 0) + 1
        self._journal.request(exchange)

    def settled(self, event: Event, outcome: Outcome | None, decisions: Sequence[Decision]) -> None:
        """Messages were settled; as `Journal.settled`."""
        for decision in decisions:
            key = (event.function or "", type(decision).__name__.lower())
            self.settled_by[key] = self.settled_by.get(key, 0) + 1
        self._journal.settled(event, outcome, decisions)

    def fired(self, event: Event, outcome: Outcome | None, status: int) -> None:
        """A timer's run has ended; as `Journal.invocation`."""
        if event.timer is not None:
            timer = (event.function or "", event.timer.name)
            kind = "left" if outcome is None else str(outcome.kind) if isinstance(outcome, Failed) else "ok"
            self.fires[*timer, kind] = self.fires.get((*timer, kind), 0) + 1
            if outcome is not None and outcome.timings.accepted_ns:
                ago_s = (time.monotonic_ns() - outcome.timings.accepted_ns) / 1e9
                scheduled_s = datetime.fromisoformat(event.timer.scheduled_at).timestamp()
                self.lateness_s[timer] = time.time() - ago_s - scheduled_s
        self._journal.invocation(event, outcome, status)
