"""A hint for an exception of a handler that got other data than it expected, because of the body's content type.

Imported once a handler has failed. A message without a content type is bytes for its handler, and `curl -d` sends JSON
as a form: then a handler that expects a dict fails at its first line, each time.
"""

import json
from collections.abc import Iterator
from typing import Any

from .mediatypes import parse

_MOST_BYTES = 1024 * 1024
"""A larger body is judged by its ends."""
_FORM = "application/x-www-form-urlencoded"
_SENT_AS_FORM = "the body looks like JSON but was sent as a form: use Content-Type: application/json (curl --json)"
"""The http trigger says the same in `dev`."""
_OF_TYPE = (TypeError, AttributeError)
_WORDS = {"bytes": ("bytes", "byte "), "str": ("str", "string")}
"""What an exception of another type says if it is about a value of this one, such as those of validating libraries."""


def hint_of(error: BaseException, message: str, function: str, event: "dict[str, Any]", body: bytes) -> str:
    """`: …` if the error is likely to come from the type of `event["data"]`, or empty. `event` is that of the frame.

    Never raises an Exception: a hint is not worth losing the error.
    """
    try:
        return next((f": {hint}" for hint in _hints(error, message, function, event, body) if hint), "")
    except Exception:
        return ""


def _hints(error: BaseException, message: str, function: str, event: "dict[str, Any]", body: bytes) -> "Iterator[str]":
    """One for the event, or one for each event of a batch."""
    start = 0
    for one in [event] if event.get("items") is None else event["items"]:
        end = start + one.get("length", len(body))
        yield _hint(error, message, function, one, body[start:end])
        start = end


def _hint(error: BaseException, message: str, function: str, event: "dict[str, Any]", body: bytes) -> str:
    if not body or event.get("decode") is not None or event.get("coding"):
        return ""
    content_type = event.get("datacontenttype") or ""
    media_type, _ = parse(content_type)
    if media_type == _FORM:
        return _SENT_AS_FORM if _is_json(body) else ""
    kind = "str" if media_type.startswith("text/") else "bytes"
    if media_type.endswith(("json", "/form-data")) or not _is_about(error, message, kind):
        return ""
    looks = "json" if _is_json(body) else "text" if kind == "bytes" and _is_text(body) else ""
    if not looks:
        return ""
    came = f"was sent as {content_type[:100]}" if content_type else "came without a content type"
    trigger = next((name for name in ("queue", "http") if event.get(name) is not None), "")
    remedy = f'write decode = "{looks}" in [[functions.{function}.{trigger}]], or ' if trigger else ""
    right = "application/json" if looks == "json" else "text/plain"
    named = "JSON" if looks == "json" else looks
    return f"the body {came}, so `data` is {kind}, but it looks like {named}: {remedy}send it as {right}"


def _is_about(error: BaseException, message: str, kind: str) -> bool:
    return isinstance(error, _OF_TYPE) or any(word in message for word in _WORDS[kind])


def _is_json(body: bytes) -> bool:
    """Whether it is a JSON object or array, which hardly anything else looks like."""
    text = body.strip()
    if text[:1] + text[-1:] not in (b"{}", b"[]"):
        return False
    if len(text) > _MOST_BYTES:
        return True
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _is_text(body: bytes) -> bool:
    try:
        return body[:_MOST_BYTES].decode().replace("\n", "").replace("\r", "").replace("\t", "").isprintable()
    except UnicodeDecodeError:
        return False
