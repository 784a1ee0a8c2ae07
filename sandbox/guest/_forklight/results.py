"""Turns the value that a handler returned into a response: status, content type, headers and body."""

import re
import types
from typing import Any, NamedTuple

from .encoding import JSON, Unencodable, encode_body, encode_json
from .headers import is_mapping, pairs, split_headers
from .proxy_answers import read_proxy_answer

_STATUS_TEXT = re.compile(r"([1-5]\d\d)(?: .*)?", re.ASCII)
_A_TUPLE = "a tuple of two whose second is a dict is (body, headers): return a list to send both as JSON"


class Result(NamedTuple):
    """A response. `headers` are in order, names may repeat, and the content type is not among them."""

    status: int
    type: str | None
    headers: list[tuple[str, str]]
    body: bytes


_new = tuple.__new__
"""Makes a named tuple in half the time of its own constructor."""


def encode_result(value: Any) -> Result:
    """The response for every form of value, except streams.

    None is 204. `(body, status)`, `(body, headers)` and `(body, status, headers)` are whole responses, as in Flask;
    so are a dict with `statusCode` and a response object of Flask or Starlette. Anything else is the body of a 200.
    Raises Unencodable.
    """
    if type(value) is dict and "statusCode" not in value:  # the usual case
        return _new(Result, (200, JSON, [], encode_json(value)))
    if type(value) is tuple:
        response = _of_tuple(value)
        if response is not None:
            return response
    if isinstance(value, dict) and "statusCode" in value:
        answer = read_proxy_answer(value)
        return _response(answer.body, answer.status, answer.headers)
    return _response(value, None, None)


def _of_tuple(value: tuple[Any, ...]) -> Result | None:
    """The response of a tuple; None for any other tuple, which becomes JSON like a list."""
    if len(value) == 2:
        body, second = value
        status = _status_of(second)
        if status is not None:
            return _response(body, status, None)
        if is_mapping(second) or _is_list_of_headers(second):
            try:
                return _response(body, None, second)
            except Unencodable as error:
                raise Unencodable(f"{error}; {_A_TUPLE}") from None
    if len(value) == 3 and (value[2] is None or isinstance(value[2], list) or is_mapping(value[2])):
        body, second, headers = value
        status = _status_of(second)
        if status is not None:
            return _response(body, status, headers)
        if is_mapping(headers):
            raise Unencodable(f"$[1]: {second!r:.40} is not a status from 100 to 599")
    return None


def _status_of(value: Any) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool) and 100 <= value <= 599:
        return int(value)
    found = _STATUS_TEXT.fullmatch(value) if isinstance(value, str) else None
    return None if found is None else int(found[1])


def _is_list_of_headers(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], str) for pair in value)
    )


def _response(body: Any, status: int | None, headers: Any) -> Result:
    """The response; with `status` None, the body decides."""
    _refuse_stream(body)
    if hasattr(body, "status_code") and hasattr(body, "headers"):
        body, own_status, own_headers = _of_object(body)
        status = status or own_status
        headers = [*pairs(own_headers), *pairs(headers)]
    if status is None:
        status = 204 if body is None else 200
    content_type, content = (None, b"") if body is None else encode_body(body)
    if headers is None:
        return Result(status, content_type, [], content)
    given_type, others = split_headers(headers)
    return Result(status, given_type or content_type, others, content)


def _of_object(response: Any) -> tuple[Any, int | None, Any]:
    """Body, status and headers of a complete response object of Flask (werkzeug) or Starlette (FastAPI)."""
    kind = type(response)
    if hasattr(kind, "model_dump") or hasattr(kind, "__dataclass_fields__"):  # user data with fields of these names
        return response, None, None
    get_data = getattr(response, "get_data", None)
    body = get_data() if callable(get_data) else getattr(response, "body", None)
    status = _status_of(response.status_code)
    if status is None or not isinstance(body, bytes):
        name = f"{kind.__module__}.{kind.__qualname__}"
        raise Unencodable(f"$: an object of type {name} cannot be sent: return (body, status, headers) made of it")
    return body, status, response.headers


def _refuse_stream(body: Any) -> None:
    if isinstance(body, (types.GeneratorType, types.AsyncGeneratorType)):
        raise Unencodable("$: the handler returned a generator, and this version cannot stream: return the whole body")
    if isinstance(body, types.CoroutineType):
        body.close()
        raise Unencodable("$: the handler returned a coroutine that it did not await: make the handler `async def`")
