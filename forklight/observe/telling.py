"""From events, outcomes, decisions and requests to the fields of an entry. Pure."""

import re
import time
from collections import Counter
from collections.abc import Sequence

from bus import Event, Failed, Outcome
from bus.outcome import phases_ns
from bus.retry import Ack, Dead, Decision, Release, Retry
from triggers.http.exchange import Exchange

_LONGEST_METHOD = 32
_LONGEST_PATH = 1024
"""Of a request, as many characters are kept."""


def told_decisions(decisions: Sequence[Decision]) -> str:
    """One as it is told alone; of several, how many were decided how."""
    if not decisions:
        return "again one by one"
    told = [_told_decision(decision) for decision in decisions]
    if len(told) == 1:
        return told[0]
    counts = Counter(re.split(r"\W", one, maxsplit=1)[0] for one in told)
    return ", ".join(f"{count} {name}" for name, count in counts.items())


def _told_decision(decision: Decision) -> str:
    match decision:
        case Ack():
            return "ack"
        case Retry():
            what = "retry" if decision.counts else "not due: again"
            return f"{what} in {round(decision.delay_s, 1 if decision.delay_s >= 1 else 3):g} s"
        case Release():
            return "released"
        case Dead():
            return f"dead: {decision.reason}"


def origin(event: Event) -> dict[str, object]:
    """What triggered it. A batch is told by its first message."""
    if event.http is not None:
        return {"trigger": "http"}
    section = event.queue or (event.items[0].queue if event.items else None)
    if section is not None:
        queue = f"{section.name}@{section.broker}" if section.broker else section.name
        messages = len(event.items) if event.items is not None else 0
        sent_at = event.items[0].time if event.items else event.time
        return {"trigger": "queue", "queue": queue, "messages": messages, "sent_at": sent_at}
    if event.timer is not None:
        return {"trigger": "timer", "timer": event.timer.name, "scheduled_at": event.timer.scheduled_at}
    return {"trigger": event.type.rpartition(".")[2]}


def told_request(exchange: Exchange) -> dict[str, object]:
    """What is told of it beside its event and outcome; without an event, why it was answered so."""
    path = exchange.path[:_LONGEST_PATH]
    fields: dict[str, object] = {
        "trigger": "http",
        "status": exchange.status,
        "method": exchange.method[:_LONGEST_METHOD],
        "path": path if path.isascii() else path.encode(errors="backslashreplace").decode(),
        "client": exchange.client or "unix",
        "ms": (time.monotonic_ns() - exchange.began_ns) // 1000 / 1000,
    }
    if exchange.event is None:
        fields |= {"reason": exchange.reason, "text": exchange.detail}
    return fields


def told_outcome(outcome: Outcome) -> dict[str, object]:
    queue_ns, start_ns, run_ns = phases_ns(outcome)
    return {
        "outcome": f"{outcome.kind}/{outcome.code}" if isinstance(outcome, Failed) else "ok",
        "text": outcome.message if isinstance(outcome, Failed) else "",
        "traceback": outcome.traceback if isinstance(outcome, Failed) else "",
        "instance": outcome.instance,
        "start": outcome.start or "",
        "queue_ms": queue_ns // 1000 / 1000,
        "start_ms": start_ns // 1000 / 1000,
        "run_ms": run_ns // 1000 / 1000,
        "cpu_ms": outcome.cpu_ns // 1000 / 1000,
        "version": outcome.version,
    }
