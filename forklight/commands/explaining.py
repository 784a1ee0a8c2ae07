"""Explains an invocation in words: where its time went, and which decision was behind each part. Pure."""

import time
from collections.abc import Iterator
from datetime import datetime

from bus.outcome import Waits
from dispatcher.reasons import Reason
from forklight.observe.entry import Entry
from forklight.observe.explanation import Explanation, Limits, total_ms

_WORTH_ADVICE_MS = 1.0
_WORTH_JUDGING_MS = 5.0
"""A shorter run says little about processor use: waking up takes time too."""
_AT_ONCE_MS = 0.1
"""How long the server takes to hand an event over, also when it is busy."""
_LITTLE = 0.2
_STARTS = {
    "warm": "an instance was ready, so it was handed over",
    "fork": "fork: the template was loaded, so a process was forked from it",
    "load": "load: there was no template, so the code was imported first",
    "boot": "boot: there was no template and no interpreter for one, so both were started first",
}
_SPARE = "an instance that had been started ahead and had run nothing (a spare) was ready, so it was handed over"
_CAUSES = {
    "new": "nothing had needed it before, or it was being made for the first time",
    "ended": "the one before it ended: {0.detail}",
    "unneeded": "no function of its runtime had needed it any more",
    "unforkable": "{0.detail} cannot be forked, so each instance is loaded by itself",
    "rested": 'rest = "none" had ended it after {0.detail} s without an event',
    "start_failed": "a start before that failed: {0.detail}",
    "no_room": "it waited for room on the machine: {0.detail}",
    "key": "before that, the instance of its key ran other events",
    "other_key": "before that, another version of the function had events of its key",
    "other_version": "before that, other versions of the function had its instances",
}
_OTHERS = {
    "other_key": "another version of the function had events of its key",
    "other_version": "other versions of the function had the instances that it may have (max_instances)",
}
_WAITS = {
    "throttled_ms": "for its share of the processors (cpu)",
    "memory_ms": "for memory",
    "disk_ms": "for the disk",
    "processor_ms": "for a processor",
}
_ONE_AT_A_TIME = "events of the same key run one at a time: reuse"
_REMEDIES = {
    "QueueFull": "a longer line: max_waiting ({0.max_waiting}) and max_waiting_memory; {1}",
    "WaitExpired": "more patience: max_wait ({0.max_wait_s:g} s); {1}",
    "Timeout": "more time: timeout ({0.timeout_s:g} s)",
    "MemoryExceeded": "more memory: memory",
}


def tell(found: Explanation) -> list[str]:
    """Return lines of text: what happened, each part of its time, how it ended, what would help."""
    entry = found.entry
    parts = [
        ("queue", entry.queue_ms, _queue(found)),
        ("start", entry.start_ms, _start(found)),
        ("run", entry.run_ms, _run(found)),
    ]
    if not entry.start:  # it never ran: there is only its wait to explain
        parts = [part for part in parts[:1] if part[2]]
    width = max((len(f"{ms:,.1f}") for _, ms, _ in parts), default=0)
    told = [f"  {name:5}  {ms:{width},.1f} ms  {text}" for name, ms, text in parts]
    return [_heading(entry), *_origin(entry), *told, *(f"  {line}" for line in _rest(found))]


def _heading(entry: Entry) -> str:
    whole_ms = total_ms(entry)
    begun_s = entry.time - whole_ms / 1000
    clock = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(begun_s)) + f".{int(begun_s * 1000) % 1000:03d}"
    outcome = " ".join([entry.outcome, *([str(entry.status)] if entry.status else [])])
    who = entry.function or f"{entry.method} {entry.path}".strip()
    told = f"{who} {entry.invocation}: {outcome}, over {entry.trigger}, at {clock}"
    return f"{told}, {whole_ms:,.1f} ms{_most(entry)}" if entry.start else told


def _most(entry: Entry) -> str:
    """Return which part took most of the time."""
    whole_ms = total_ms(entry)
    parts = {"queue": entry.queue_ms, "start": entry.start_ms, "run": entry.run_ms}
    name = max(parts, key=lambda part: parts[part])
    return f", of which {name} {parts[name] / whole_ms:.0%}" if whole_ms > 0 else ""


def _origin(entry: Entry) -> Iterator[str]:
    if entry.release:
        yield f"  version {entry.release} of the function ({entry.version or 'it reached no instance'})"
    if entry.queue:
        age = _since(entry.sent_at, entry)
        messages = f"{entry.messages} messages" if entry.messages else "a message"
        yield f"  {messages} of {entry.queue}, attempt {entry.attempt}{f', {age} after it was sent' if age else ''}"
    if entry.timer:
        late = _since(entry.scheduled_at, entry)
        yield f"  timer {entry.timer}, scheduled at {entry.scheduled_at}, begun {late} after that"


def _since(moment: str, entry: Entry) -> str:
    """Return how long after `moment` it began; empty if a publisher sent a time that cannot be read."""
    try:
        return _duration(entry.time - total_ms(entry) / 1000 - datetime.fromisoformat(moment).timestamp())
    except ValueError:
        return ""


def _duration(seconds: float) -> str:
    return f"{max(0.0, seconds) * 1000:,.0f} ms" if seconds < 1 else f"{seconds:,.1f} s"


def _queue(found: Explanation) -> str:
    reason, entry = found.reason, found.entry
    if reason is None:
        return _at_once(found) if entry.start == "warm" else ""
    if _waited_for_key(reason):
        before = f", {reason.waiting} waited before it, of any key" if reason.waiting else ""
        return f"the instance of its key ran another event{before}; {_key_decision(entry)}"
    if reason.cause is not None and reason.cause.code in _OTHERS:
        return f"{_OTHERS[reason.cause.code]}; {_key_decision(entry)}"
    told = f"{reason.busy} of at most {reason.max_instances} instances ran other events, none was idle"
    if reason.slots > 1:
        them = "the one instance" if reason.busy == 1 else f"{reason.busy} instances"
        bound = f"{reason.max_instances} instances with {reason.slots} slots each may run"
        told = f"all slots of {them} were taken, by {reason.calls} events; {bound}"
    if not reason.busy:
        told = "there was no instance"
    if reason.waiting:
        told += f", {reason.waiting} waited before it"
    if reason.starting:
        told += f", {reason.starting} more {'was' if reason.starting == 1 else 'were'} being started"
    return f"{told}; {_decision(entry, reason)}"


def _at_once(found: Explanation) -> str:
    entry, before = found.entry, found.before
    has_slots = found.limits is not None and found.limits.concurrency > 1
    if entry.queue_ms > _AT_ONCE_MS:
        return "no slot was free, but one came free" if has_slots else "none was idle, but one came free"
    if has_slots:
        return f"{entry.instance} had a free slot and took it at once"
    if entry.spare:
        return f"{entry.instance} was spare and took it at once"
    if before is None:
        return f"{entry.instance} was idle and took it at once"
    idle_s = entry.time - total_ms(entry) / 1000 - before.time
    return f"{entry.instance}, idle for {_duration(idle_s)}, took it at once"


def _waited_for_key(reason: Reason | None) -> bool:
    return reason is not None and reason.cause is not None and reason.cause.code == "key"


def _key_decision(entry: Entry) -> str:
    if entry.outcome.endswith("/QueueFull"):
        return "so it was refused"
    return "that took too long" if entry.outcome.endswith("/WaitExpired") else "it waited for that"


def _decision(entry: Entry, reason: Reason) -> str:
    if entry.outcome.endswith("/QueueFull"):
        return "so it was refused"
    if entry.outcome.endswith("/WaitExpired"):
        return "none came free in time" + _cause(reason)
    if entry.start == "warm" and reason.begun:
        return "one more was started for it, but another came free first"
    if entry.start == "warm":
        is_full = reason.busy + reason.starting + reason.leaving >= reason.max_instances
        return f"{'no more may run, so it waited, and' if is_full else 'it waited, and'} one came free"
    return "so one more was started for it" if reason.begun else "it took the first that was ready"


def _start(found: Explanation) -> str:
    if found.entry.spare:
        return _SPARE
    return _STARTS.get(found.entry.start, "it reached no instance") + _cause(found.reason)


def _cause(reason: Reason | None) -> str:
    if reason is None or reason.cause is None:
        return ""
    return f" ({_CAUSES[reason.cause.code].format(reason.cause)})"


def _run(found: Explanation) -> str:
    entry = found.entry
    limit = f"; the limit is {found.limits.timeout_s:g} s" if found.limits is not None else ""
    return f"{entry.cpu_ms:,.1f} ms of it on the processor{_kind(entry)}{limit}"


def _kind(entry: Entry) -> str:
    if entry.run_ms < _WORTH_JUDGING_MS:
        return ""
    share = entry.cpu_ms / entry.run_ms
    if share < _LITTLE:
        return ": it mostly waited"
    return ": it computed" if share > 1 - _LITTLE else ": the rest it waited"


def _waited(entry: Entry) -> str:
    """Return what its function could not have at once while it ran; empty if nothing is known of that."""
    waits = entry.waits or Waits()
    parts = [(getattr(waits, name), what) for name, what in _WAITS.items()]
    return ", ".join(f"{ms:,.1f} ms {what}" for ms, what in parts if ms >= _WORTH_ADVICE_MS)


def _rest(found: Explanation) -> Iterator[str]:
    entry = found.entry
    if waited := _waited(entry):
        yield f"meanwhile its function waited {waited}"
    if entry.decision:
        yield f"then: {entry.decision}"
    if entry.text:
        yield f"said: {entry.text}"
    if found.lines:
        written = "1 line" if found.lines == 1 else f"{found.lines} lines"
        yield f"wrote {written}: forklight logs --id {entry.invocation[-8:]}"
    if found.limits is not None and (advice := _advice(entry, found.limits, found.reason)):
        yield f"to change that: {advice}"


def _advice(entry: Entry, limits: Limits, reason: Reason | None) -> str:
    if entry.waits is not None and entry.waits.throttled_ms > _LITTLE * entry.run_ms:
        return "a larger share of the processors: cpu"
    code = entry.outcome.rpartition("/")[2]
    if code in _REMEDIES:
        return _REMEDIES[code].format(limits, _more_room(limits, reason))
    if entry.start_ms > max(entry.run_ms, entry.queue_ms, _WORTH_ADVICE_MS) and entry.start != "warm":
        if limits.rest == "none" and entry.start != "fork":
            return 'rest = "template" keeps the code loaded'
        kept = f"keep_alive ({limits.keep_alive_s:g} s) keeps them longer"
        return f"reserved ({limits.reserved}) keeps instances ready; {kept}"
    if entry.queue_ms > max(entry.run_ms, entry.start_ms, _WORTH_ADVICE_MS):
        return _ONE_AT_A_TIME if _waited_for_key(reason) else _more_at_a_time(limits)
    return ""


def _more_room(limits: Limits, reason: Reason | None) -> str:
    if reason is not None and reason.cause is not None and reason.cause.code == "no_room":
        return f"more room: {reason.cause.detail.partition(' allows ')[0]}"
    if _waited_for_key(reason):
        return _ONE_AT_A_TIME
    return f"more at a time: {_more_at_a_time(limits)}"


def _more_at_a_time(limits: Limits) -> str:
    slots = f" and concurrency ({limits.concurrency})" if limits.concurrency > 1 else ""
    return f"max_instances ({limits.max_instances}){slots}"
