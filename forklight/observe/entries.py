"""An invocation becomes an entry of the journal. Pure."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from bus import Event, Failed, Ok, Outcome
from bus.event import trace_id
from bus.invocation import CLIENT_LEFT, HttpVerdict, Invocation, QueueVerdict
from bus.outcome import phases_ns
from bus.places import join_place
from bus.retry import Ack, Dead, Decision, Release, Retry
from forklight.observe.entry import ANSWERED, LEFT, NOT_RUN, Entry

_LONGEST_METHOD = 32
_LONGEST_PATH = 1024
"""Of a request, as many characters are kept."""

Fields = dict[str, Any]
"""Of an entry, by name."""


def entry_of(invocation: Invocation, now_s: float, now_ns: int) -> Entry:
    """Return the entry of an event, or of a request that ran no function.

    `now_s` is in seconds since the epoch, `now_ns` is CLOCK_MONOTONIC.
    """
    event, outcome, verdict = invocation.event, invocation.outcome, invocation.verdict
    if isinstance(outcome, Ok) and isinstance(verdict, HttpVerdict) and event is not None:
        return _answered(event, outcome, verdict, now_s, now_ns)
    return _any_entry(invocation, now_s, now_ns)


def _any_entry(invocation: Invocation, now_s: float, now_ns: int) -> Entry:
    event, outcome, verdict = invocation.event, invocation.outcome, invocation.verdict
    fields: Fields = {"time": now_s, "function": "", "outcome": LEFT}
    if isinstance(verdict, HttpVerdict):
        _add_request(fields, verdict, now_ns)
        if event is None:
            _add_refusal(fields, verdict)
    if event is not None:
        _add_event(fields, event)
        if isinstance(verdict, QueueVerdict):
            _add_decisions(fields, verdict.decisions, event, outcome)
    if outcome is not None:
        _add_outcome(fields, outcome)
    return Entry(**fields)


def _answered(event: Event, outcome: Ok, verdict: HttpVerdict, now_s: float, now_ns: int) -> Entry:
    """The entry of a request that a function answered. It is the usual one, so it is made without `Fields`.

    `_any_entry` returns the same.
    """
    queue_ns, start_ns, run_ns = phases_ns(outcome)
    return Entry(
        time=now_s,
        function=event.function or "",
        invocation=event.id,
        trace_id=trace_id(event.id, event.traceparent),
        trigger="http",
        status=verdict.status,
        method=verdict.method[:_LONGEST_METHOD],
        path=_path(verdict),
        client=verdict.client or "unix",
        key=verdict.key,
        ms=_ms(now_ns - verdict.began_ns),
        outcome="ok",
        instance=outcome.instance,
        start=outcome.start or "",
        spare=outcome.spare,
        queue_ms=_ms(queue_ns),
        start_ms=_ms(start_ns),
        run_ms=_ms(run_ns),
        cpu_ms=_ms(outcome.cpu_ns),
        waits=outcome.waits,
        version=outcome.version,
        release=outcome.release,
    )


def _path(verdict: HttpVerdict) -> str:
    path = verdict.path[:_LONGEST_PATH]
    return path if path.isascii() else path.encode(errors="backslashreplace").decode()


def _ms(duration_ns: int) -> float:
    """Three decimals, without rounding a float."""
    return duration_ns // 1000 / 1000


def _add_request(fields: Fields, verdict: HttpVerdict, now_ns: int) -> None:
    fields["trigger"] = "http"
    fields["status"] = verdict.status
    fields["method"] = verdict.method[:_LONGEST_METHOD]
    fields["path"] = _path(verdict)
    fields["client"] = verdict.client or "unix"
    fields["key"] = verdict.key
    fields["ms"] = _ms(now_ns - verdict.began_ns)


def _add_refusal(fields: Fields, verdict: HttpVerdict) -> None:
    """Why the server answered by itself."""
    fields["invocation"] = verdict.id
    fields["reason"] = verdict.reason
    fields["text"] = verdict.detail
    if verdict.status != CLIENT_LEFT:
        fields["outcome"] = ANSWERED


def _add_event(fields: Fields, event: Event) -> None:
    """The event and its trigger. The first message of a batch stands for the batch."""
    fields["function"] = event.function or ""
    fields["invocation"] = event.id
    fields["trace_id"] = trace_id(event.id, event.traceparent)
    section = event.queue or (event.items[0].queue if event.items else None)
    if event.http is not None:
        fields["trigger"] = "http"
    elif section is not None:
        fields["trigger"] = "queue"
        fields["queue"] = join_place(section.name, section.broker)
        fields["messages"] = len(event.items) if event.items is not None else 0
        fields["sent_at"] = event.items[0].time if event.items else event.time
    elif event.timer is not None:
        fields["trigger"] = "timer"
        fields["timer"] = event.timer.name
        fields["scheduled_at"] = event.timer.scheduled_at
    else:
        fields["trigger"] = event.type.rpartition(".")[2]


def _add_decisions(fields: Fields, decisions: Sequence[Decision], event: Event, outcome: Outcome | None) -> None:
    fields["decision"] = _decisions_text(decisions)
    fields["attempt"] = event.items[0].attempt if event.items else event.attempt
    if outcome is None:
        fields["outcome"] = NOT_RUN
        fields["text"] = "; ".join(one.error for one in decisions if isinstance(one, Retry | Dead))


def _add_outcome(fields: Fields, outcome: Outcome) -> None:
    queue_ns, start_ns, run_ns = phases_ns(outcome)
    fields["outcome"] = "ok"
    if isinstance(outcome, Failed):
        fields["outcome"] = f"{outcome.kind}/{outcome.code}"
        fields["text"] = outcome.message
        fields["traceback"] = outcome.traceback
    fields["instance"] = outcome.instance
    fields["start"] = outcome.start or ""
    fields["spare"] = outcome.spare
    fields["queue_ms"] = _ms(queue_ns)
    fields["start_ms"] = _ms(start_ns)
    fields["run_ms"] = _ms(run_ns)
    fields["cpu_ms"] = _ms(outcome.cpu_ns)
    fields["waits"] = outcome.waits
    fields["version"] = outcome.version
    fields["release"] = outcome.release


def _decisions_text(decisions: Sequence[Decision]) -> str:
    """The decision on one message; on several, how many were decided how."""
    if not decisions:
        return "again one by one"
    texts = [_decision_text(decision) for decision in decisions]
    if len(texts) == 1:
        return texts[0]
    counts = Counter(re.split(r"\W", text, maxsplit=1)[0] for text in texts)
    return ", ".join(f"{count} {name}" for name, count in counts.items())


def _decision_text(decision: Decision) -> str:
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
