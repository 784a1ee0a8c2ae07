"""How a line of the journal looks: aligned for a terminal, JSON for everything else."""

import time

import msgspec

from forklight.entry import Entry, has_failed, level_of

_encode = msgspec.json.Encoder().encode
_DIM, _RED, _PLAIN = "\x1b[2m", "\x1b[31m", "\x1b[0m"


def as_json(entry: Entry) -> str:
    """One JSON object, without the fields that say nothing; `time` in seconds since the epoch."""
    return _encode(entry).decode()


def as_text(entry: Entry, *, colour: bool = False) -> str:
    """`12:34:56.789 greet 1b2c3d4e what the function wrote`, or what its invocation came to."""
    dim, red, plain = (_DIM, _RED, _PLAIN) if colour else ("", "", "")
    clock = time.strftime("%H:%M:%S", time.localtime(entry.time)) + f".{int(entry.time * 1000) % 1000:03d}"
    who = f"{entry.function or 'forklight'} {entry.invocation[-8:] or entry.instance or '-'}"
    return f"{dim}{clock}{plain} {who} {_what(entry, red, plain)}"


def _what(entry: Entry, red: str, plain: str) -> str:
    if not entry.outcome:
        return f"{red}{entry.text}{plain}" if level_of(entry) in ("error", "critical") else entry.text
    told = entry.outcome if not has_failed(entry) else f"{red}{entry.outcome}{plain}"
    parts = [f"← {entry.trigger}", *_origin(entry), told, *([str(entry.status)] if entry.status else [])]
    if entry.decision:
        lost = "dead" in entry.decision
        parts.append(f"{red}{entry.decision}{plain}" if lost else entry.decision)
    if entry.start:
        parts.append(
            f"{entry.start}, queue {entry.queue_ms:g} ms, start {entry.start_ms:g} ms, run {entry.run_ms:g} ms"
            + ("," if entry.client else "")
        )
    if entry.client:
        parts.append(f"{entry.method or '-'} {entry.path or '-'} from {entry.client} in {entry.ms:g} ms")
        if entry.text:
            parts[-1] += ":"
    line = " ".join([*parts, *([entry.text] if entry.text else [])])
    return "\n  ".join([line, *entry.traceback.splitlines()])


def _origin(entry: Entry) -> list[str]:
    """Which queue and attempt, or which timer and scheduled time."""
    parts = [entry.queue, entry.timer, entry.scheduled_at]
    if entry.messages:
        parts.append(f"{entry.messages} messages")
    if entry.attempt:
        parts.append(f"attempt {entry.attempt}")
    return [part for part in parts if part]
