"""What a command sends besides its answer, by an HTTP request each: the same as `context.send` and `context.spawn`."""

from typing import Any
from urllib.parse import parse_qsl

from .http_requests import Request
from .lambda_answers import value_of
from .outputs import Outputs, ResultTooLarge, seconds

_OPTIONS = {"send": ("delay", "id", "correlation_id", "reply_to", "header"), "spawn": ("delay", "id")}
KINDS = frozenset(_OPTIONS)


def add(outputs: Outputs, kind: str, name: str, request: Request) -> None:
    """Add the output that a request asks for. Raises TypeError or ValueError, also as Unencodable, ResultTooLarge."""
    if request.body is None:
        raise ResultTooLarge("the body is too large for max_result")
    given = parse_qsl(request.path.partition("?")[2], keep_blank_values=True)
    unknown = [key for key, _ in given if key not in _OPTIONS[kind]]
    if unknown:
        raise ValueError(f"{kind} has no {unknown[0]!r}; it has {', '.join(_OPTIONS[kind])}")
    value = value_of(request.body, request.headers.get("content-type", ""))
    options = dict(given)
    extra: dict[str, Any] = {}
    if kind == "send":
        extra = {"correlation_id": options.get("correlation_id"), "reply_to": options.get("reply_to")}
        extra["headers"] = dict(_header(text) for key, text in given if key == "header")
    delay_s = seconds(float(options["delay"]) if "delay" in options else None)
    outputs.add(kind, name, value, delay_s=delay_s, output_id=options.get("id"), **extra)


def _header(text: str) -> "tuple[str, str]":
    name, colon, value = text.partition(":")
    if not colon:
        raise ValueError(f"{text!r:.40} is no header: write header=NAME:VALUE")
    return name.strip(), value.strip()
