"""The headers of a response as a handler returns them: a mapping, whose values may be lists, or a list of pairs."""

import re
from collections.abc import Iterable
from typing import Any

from .encoding import Unencodable
from .wire import MAX_HEADERS, MAX_TEXT_CHARS, MAX_TYPE_CHARS

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110 §5.6.2
_FORBIDDEN_IN_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")  # RFC 9110 §5.5; and no lone surrogates


def is_mapping(value: Any) -> bool:
    """Whether it is a dict or a dict-like headers object of a library (requests, httpx, werkzeug, multidict)."""
    kind = type(value)
    return isinstance(value, dict) or (callable(getattr(kind, "items", None)) and callable(getattr(kind, "get", None)))


def split_headers(headers: Any) -> tuple[str | None, list[tuple[str, str]]]:
    """The content type, if there is one, and the other headers. Raises Unencodable."""
    content_type = None
    others = []
    for name, value in pairs(headers):
        _check_header(name, value)
        if name.lower() == "content-type":
            content_type = str(value)
            if len(content_type) > MAX_TYPE_CHARS:
                raise Unencodable(f"headers.{name}: longer than {MAX_TYPE_CHARS} characters")
        else:
            others.append((name, str(value)))
    if sum(len(name) + len(value) for name, value in others) > MAX_TEXT_CHARS:
        raise Unencodable(f"headers: together longer than {MAX_TEXT_CHARS} characters")
    if len(others) > MAX_HEADERS:
        raise Unencodable(f"headers: {len(others)} of them, over {MAX_HEADERS}")
    return content_type, others


def pairs(headers: Any) -> Iterable[tuple[Any, Any]]:
    """The name and value of each header, in order, unchecked."""
    if headers is None:
        return
    if not is_mapping(headers) and not isinstance(headers, (list, tuple)):
        raise Unencodable(f"headers: {headers!r:.40} is neither a dict nor a list of pairs")
    for pair in headers.items() if is_mapping(headers) else headers:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise Unencodable(f"headers: {pair!r:.40} is not a pair of name and value")
        name, value = pair
        for one in value if isinstance(value, (list, tuple)) else (value,):
            yield name, one


def _check_header(name: Any, value: Any) -> None:
    """Raise Unencodable for an invalid header. A line break in a value could inject headers or a whole response."""
    if not isinstance(name, str) or not _TOKEN.fullmatch(name):
        raise Unencodable(f"headers: {name!r:.40} is not the name of a header")
    if not isinstance(value, (str, int, float)) or isinstance(value, bool):
        kind = type(value).__name__
        raise Unencodable(f"headers.{name}: an object of type {kind} cannot be the value of a header, make it text")
    if _FORBIDDEN_IN_VALUE.search(str(value)):
        raise Unencodable(f"headers.{name}: a value cannot hold line breaks or other control characters")
