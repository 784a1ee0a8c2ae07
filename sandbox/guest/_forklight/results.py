"""What a handler returned, as a response: status, content type, headers and body."""

import re
import types
from collections.abc import Iterable
from typing import Any, NamedTuple

from .encoding import JSON, Unencodable, encode_body, encode_json

_RESPONSE_KEYS = ("statusCode", "headers", "body", "isBase64Encoded")
_MAX_HEADER_CHARS = 64 * 1024
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110 §5.6.2
_FORBIDDEN_IN_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")  # RFC 9110 §5.5; and no lone surrogates


class Result(NamedTuple):
    """`headers` in order, a name may come several times; the content type is not among them."""

    status: int
    type: str | None
    headers: list[tuple[str, str]]
    body: bytes


def encode_result(value: Any) -> Result:
    """Every form a handler may return, except streams.

    None is 204; a tuple `(body, status)` or `(body, status, headers)` with a status from 100 to 599 and a dict with
    `statusCode` are whole responses; anything else is the body of a 200. Raises Unencodable.
    """
    if type(value) is dict and "statusCode" not in value:  # most are
        return Result(200, JSON, [], encode_json(value))
    if type(value) is tuple and _is_response(value):
        body, status, headers = (*value, None)[:3]
        return _response(body, int(status), headers)
    if isinstance(value, dict) and "statusCode" in value:
        return _full_response(value)
    return _response(value, 204 if value is None else 200, None)


def _is_response(value: tuple[Any, ...]) -> bool:
    return (
        len(value) in (2, 3)
        and _is_status(value[1])
        and (len(value) == 2 or value[2] is None or isinstance(value[2], (dict, list)))
    )


def _is_status(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 100 <= value <= 599


def _full_response(value: dict[str, Any]) -> Result:
    unknown = [key for key in value if key not in _RESPONSE_KEYS]
    if unknown:
        raise Unencodable(f"$: a response with statusCode cannot have {unknown[0]!r}, only {', '.join(_RESPONSE_KEYS)}")
    status = value["statusCode"]
    if isinstance(status, str) and status.isascii() and status.isdigit():
        status = int(status[:4])
    if not _is_status(status):
        raise Unencodable(f"$.statusCode: {status!r:.40} is not an integer from 100 to 599")
    body = _from_base64(value.get("body")) if value.get("isBase64Encoded") else value.get("body")
    return _response(body, int(status), value.get("headers"))


def _from_base64(body: Any) -> bytes:
    from base64 import b64decode

    if isinstance(body, str):
        try:
            return b64decode(body, validate=True)
        except ValueError as error:
            raise Unencodable(f"$.body: not base64, as isBase64Encoded says: {error}") from None
    raise Unencodable(f"$.body: isBase64Encoded needs text, not an object of type {type(body).__name__}")


def _response(body: Any, status: int, headers: Any) -> Result:
    _refuse_stream(body)
    content_type, content = (None, b"") if body is None else encode_body(body)
    if headers is None:
        return Result(status, content_type, [], content)
    given_type, others = _headers(headers)
    return Result(status, given_type or content_type, others, content)


def _refuse_stream(body: Any) -> None:
    if isinstance(body, (types.GeneratorType, types.AsyncGeneratorType)):
        raise Unencodable("$: the handler returned a generator, and this version cannot stream: return the whole body")
    if isinstance(body, types.CoroutineType):
        body.close()
        raise Unencodable("$: the handler returned a coroutine it has not awaited: make the handler `async def`")


def _headers(headers: Any) -> tuple[str | None, list[tuple[str, str]]]:
    """The content type, if it is among them, and the others. A dict, whose values may be lists, or a list of pairs."""
    content_type = None
    others = []
    for name, value in _pairs(headers):
        _check_header(name, value)
        if name.lower() == "content-type":
            content_type = str(value)
        else:
            others.append((name, str(value)))
    if sum(len(name) + len(value) for name, value in others) > _MAX_HEADER_CHARS:
        raise Unencodable(f"headers: together longer than {_MAX_HEADER_CHARS} characters")
    return content_type, others


def _pairs(headers: Any) -> Iterable[tuple[Any, Any]]:
    if headers is None:
        return
    if not isinstance(headers, (dict, list, tuple)):
        raise Unencodable(f"headers: {headers!r:.40} is neither a dict nor a list of pairs")
    for pair in headers.items() if isinstance(headers, dict) else headers:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise Unencodable(f"headers: {pair!r:.40} is not a pair of name and value")
        name, value = pair
        for one in value if isinstance(value, (list, tuple)) else (value,):
            yield name, one


def _check_header(name: Any, value: Any) -> None:
    """A line break in a value would let whoever chose the value write headers, or a response, of his own."""
    if not isinstance(name, str) or not _TOKEN.fullmatch(name):
        raise Unencodable(f"headers: {name!r:.40} is not the name of a header")
    if not isinstance(value, (str, int)) or isinstance(value, bool):
        raise Unencodable(f"headers.{name}: an object of type {type(value).__name__} cannot be the value of a header")
    if _FORBIDDEN_IN_VALUE.search(str(value)):
        raise Unencodable(f"headers.{name}: a value cannot hold line breaks or other control characters")
