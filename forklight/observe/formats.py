"""The two formats of the journal: text for a terminal, JSON for everything else."""

import time
from collections.abc import Sequence

import msgspec
from msgspec.structs import asdict, replace

from forklight.observe.entry import Entry, has_failed, level_of
from forklight.observe.terminal import coloured, plain_json, plain_lines
from forklight.plain import plain
from sandbox.log_lines import whole

_encode = msgspec.json.Encoder().encode
_encode_lines = msgspec.json.Encoder().encode_lines
_DIM, _RED, _RESET = "\x1b[2m", "\x1b[31m", "\x1b[0m"
_MARGIN = "  "
"""Precedes every line of an entry except the first."""


def json_lines(entries: Sequence[Entry]) -> bytes:
    """`as_json` of each, as lines."""
    try:
        lines = _encode_lines(entries)
        if lines.isascii() and b"\x7f" not in lines:  # what `plain_json` would leave as it is
            return lines
    except UnicodeEncodeError:
        pass
    return "".join([as_json(entry) + "\n" for entry in entries]).encode()


def text_lines(entries: Sequence[Entry], *, colour: bool = False) -> bytes:
    """`as_text` of each, as lines."""
    return "".join([as_text(entry, colour=colour) + "\n" for entry in entries]).encode(errors="backslashreplace")


def as_json(entry: Entry) -> str:
    """One JSON object without empty fields; `time` is in seconds since the epoch."""
    try:
        return plain_json(_encode(entry).decode())
    except UnicodeEncodeError:  # JSON text cannot contain lone surrogates (RFC 8259 §8.1)
        return as_json(replace(entry, **{name: _whole(text) for name, text in asdict(entry).items()}))


def _whole(value: object) -> object:
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value


def as_text(entry: Entry, *, colour: bool = False) -> str:
    """Format as `12:34:56.789 greet 1b2c3d4e what the function wrote`, or with the outcome of its invocation.

    The result contains only text and colours. Further lines are indented, so that none looks like an entry of its own.
    """
    if entry.started:
        return _in(_DIM, time.strftime("— restarted %Y-%m-%d %H:%M:%S —", time.localtime(entry.time)), colour)
    clock = time.strftime("%H:%M:%S", time.localtime(entry.time)) + f".{int(entry.time * 1000) % 1000:03d}"
    who = f"{entry.function or 'forklight'} {entry.invocation[-8:] or entry.instance or '-'}"
    return f"{_in(_DIM, clock, colour)} {plain(who)} {_what(entry, colour)}"


class Days:
    """Tells the date whenever it changes from one entry to the next, beginning with today's."""

    def __init__(self, now_s: float) -> None:
        self._date = time.localtime(now_s)[:3]

    def line(self, entry: Entry, *, colour: bool = False) -> str | None:
        """Return the line that goes before the entry, if its date is another one."""
        moment = time.localtime(entry.time)
        before, self._date = self._date, moment[:3]
        return None if before == self._date else _in(_DIM, time.strftime("— %Y-%m-%d —", moment), colour)


def _in(tone: str, text: str, colour: bool) -> str:
    return f"{tone}{text}{_RESET}" if colour else text


def _what(entry: Entry, colour: bool) -> str:
    if not entry.outcome:
        text = coloured(whole(entry.text, entry.extra, entry.traceback), colour=colour, margin=_MARGIN)
        return _in(_RED, text, colour and level_of(entry) in ("error", "critical"))
    outcome = _in(_RED, plain(entry.outcome), colour and has_failed(entry))
    parts = [f"← {plain(entry.trigger)}", *_origin(entry), outcome, *([str(entry.status)] if entry.status else [])]
    if entry.decision:
        parts.append(_in(_RED, plain(entry.decision), colour and "dead" in entry.decision))
    if entry.start:
        parts.append(
            f"{plain(entry.start)}, queue {entry.queue_ms:g} ms, start {entry.start_ms:g} ms, run {entry.run_ms:g} ms"
            + ("," if entry.client else "")
        )
    if entry.client:
        key = f" with key {entry.key}" if entry.key else ""
        request = f"{entry.method or '-'} {entry.path or '-'} from {entry.client}{key} in {entry.ms:g} ms"
        parts.append(plain(request) + (":" if entry.text else ""))
    text = "\n".join([entry.text, *([entry.traceback.rstrip("\n")] if entry.traceback else [])])
    return " ".join([*parts, plain_lines(text, _MARGIN)]).rstrip(" ")


def _origin(entry: Entry) -> list[str]:
    """The queue and attempt, or the timer and scheduled time; and the version of a deployed function."""
    parts = [entry.queue, entry.timer, entry.scheduled_at]
    if entry.messages:
        parts.append(f"{entry.messages} messages")
    if entry.attempt:
        parts.append(f"attempt {entry.attempt}")
    if entry.release:
        parts.append(f"version {entry.release}")
    return [plain(part) for part in parts if part]
