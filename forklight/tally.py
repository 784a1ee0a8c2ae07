"""The tally of what queues and timers report: plain integers, bumped in place, read at scrape."""

from datetime import datetime

from bus import Event, Failed, Outcome
from bus.retry import Decision
from forklight.journal import Journal


class Tally:
    """Stands before the journal: what it counts, it passes on."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.settled_by: dict[tuple[str, str], int] = {}
        """messages by function and decision: `ack`, `retry`, `release`, `dead`"""
        self.fires: dict[tuple[str, str, str], int] = {}
        """runs by function, timer, and `ok` or the failure's kind"""
        self._last_fires: dict[tuple[str, str], tuple[str, str]] = {}

    def settled(self, event: Event, outcome: Outcome | None, decision: Decision) -> None:
        """A message was settled; `outcome` None: it was not run."""
        key = (event.function or "", type(decision).__name__.lower())
        self.settled_by[key] = self.settled_by.get(key, 0) + 1
        self._journal.settled(event, outcome, decision)

    def fired(self, event: Event, outcome: Outcome) -> None:
        """A timer's run has ended."""
        if event.timer is not None:
            function, name = event.function or "", event.timer.name
            key = (function, name, str(outcome.kind) if isinstance(outcome, Failed) else "ok")
            self.fires[key] = self.fires.get(key, 0) + 1
            self._last_fires[function, name] = (event.timer.scheduled_at, event.time)
        self._journal.invocation(event, outcome, 0)

    def lateness_s(self) -> dict[tuple[str, str], float]:
        """By function and timer, how long after its scheduled time the latest run began."""
        return {
            timer: (datetime.fromisoformat(began) - datetime.fromisoformat(scheduled)).total_seconds()
            for timer, (scheduled, began) in self._last_fires.items()
        }
