"""Frames a record of `logging` as one line in the log pipe: its level, then text, or JSON if a line does not do."""

import json
import logging
from typing import Any

from .encoding import encode_json
from .tracebacks import cut
from .wire import LEVEL_MARK, LEVELS

_MAX_BYTES = 60 * 1024
"""The limit of one record, below the longest line that is not cut."""
_PART_BYTES = (16 * 1024, 2 * 1024)
"""The limit of each of text, traceback and extra; the second one if escapes make the record too long."""
_VALUE_CHARS = 500

_OF_EVERY_RECORD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def framed(record: logging.LogRecord, text: str) -> str:
    """The line for a record. `text` is the formatted record; the record's `extra` is added unless `text` is JSON."""
    text = text.rstrip("\n")
    level = max(0, min(record.levelno // 10, len(LEVELS)) - 1)
    mark = f"{LEVEL_MARK}{level}"
    extra = {name: value for name, value in vars(record).items() if name not in _OF_EVERY_RECORD}
    if extra and _is_json(text):
        extra = {}
    if "\n" not in text and not extra and not text.startswith(LEVEL_MARK):
        return f"{mark}{text}\n"
    traceback = record.exc_text or ""
    if traceback and text.endswith(traceback):
        text = text[: -len(traceback)].rstrip("\n")
    else:
        traceback = ""
    for part_bytes in _PART_BYTES:
        encoded = _whole(text, traceback, extra, part_bytes)
        if len(encoded) <= _MAX_BYTES:
            break
    return f"{mark}{LEVEL_MARK}{encoded}\n"


def _is_json(text: str) -> bool:
    """Whether the formatter has made a JSON object, which then has whatever the author wants of `extra`."""
    try:
        return text.startswith("{") and isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _whole(text: str, traceback: str, extra: "dict[str, Any]", part_bytes: int) -> str:
    parts = [f'{{"text":{json.dumps(cut(text, part_bytes))}']
    if traceback:
        parts.append(f'"traceback":{json.dumps(cut(traceback, part_bytes))}')
    if extra:
        parts.append(f'"extra":{_encoded(extra, part_bytes)}')
    return ",".join(parts) + "}"


def _encoded(extra: "dict[str, Any]", most_bytes: int) -> str:
    """`extra` encoded like a result; if that is impossible or too long, each value as its shortened `repr`."""
    try:
        text = encode_json(extra).decode("utf-8")
    except Exception:  # the author's objects may raise anything
        text = ""
    if not text or len(text) > most_bytes or "\\ud" in text:  # \ud: a lone surrogate, which is not UTF-8
        text = json.dumps({name: _short_repr(value) for name, value in extra.items()})
    return text if len(text) <= most_bytes else json.dumps({"left_out": len(extra)})


def _short_repr(value: object) -> str:
    try:
        text = (value if isinstance(value, str) else repr(value))[:_VALUE_CHARS]
        return text.encode("utf-8", "backslashreplace").decode("utf-8")
    except Exception as error:
        return f"(its __repr__ raised {type(error).__name__})"
