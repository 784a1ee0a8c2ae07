"""Every form of result that a handler can return, and those that are refused."""

import asyncio
import math
import types
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from decimal import Decimal
from email import message_from_string as Message  # noqa: N812
from http import HTTPStatus
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.guest._forklight.encoding import Unencodable
from sandbox.guest._forklight.results import encode_result

TEXT = "text/plain; charset=utf-8"
JSON = "application/json"
OCTETS = "application/octet-stream"


class Place(NamedTuple):
    name: str
    code: int


COOKIES = [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]


class Headers:
    """Headers as in werkzeug and Starlette: `items` has every one of repeated headers."""

    def __init__(self, *pairs: tuple[str, str]) -> None:
        self._pairs = pairs

    def get(self, name: str) -> str:
        return dict(self._pairs)[name]

    def items(self) -> list[tuple[str, str]]:
        return list(self._pairs)


class FlaskResponse:
    status_code = 201
    headers = Headers(("Content-Type", "text/html"), *COOKIES)

    def get_data(self) -> bytes:
        return b"<p>"


class StarletteResponse:
    status_code = 404
    headers = Headers(("content-type", "text/plain"))
    body = b"no"


class StreamingResponse:
    status_code = 200
    headers = Headers()


@dataclass
class Data:
    status_code: int
    headers: dict[str, str]


RESULTS: list[tuple[Any, tuple[Any, ...]]] = [
    (None, (204, None, [], b"")),
    ({"a": 1}, (200, JSON, [], b'{"a":1}')),
    ([], (200, JSON, [], b"[]")),
    (0, (200, JSON, [], b"0")),
    (False, (200, JSON, [], b"false")),
    ("hi", (200, TEXT, [], b"hi")),
    (b"\xff", (200, "application/octet-stream", [], b"\xff")),
    ({"failures": ["m1"]}, (200, JSON, [], b'{"failures":["m1"]}')),
    (("made", 201), (201, TEXT, [], b"made")),
    (("made", HTTPStatus.CREATED), (201, TEXT, [], b"made")),
    ((None, 404), (404, None, [], b"")),
    ((None, 302, {"Location": "/x"}), (302, None, [("Location", "/x")], b"")),
    (({"a": 1}, 200, None), (200, JSON, [], b'{"a":1}')),
    (("<p>", 200, {"Content-Type": "text/html"}), (200, "text/html", [], b"<p>")),
    (("x", 200, [("a", "1"), ["a", "2"]]), (200, TEXT, [("a", "1"), ("a", "2")], b"x")),
    (("x", 200, {"Set-Cookie": ["a=1", "b=2"]}), (200, TEXT, [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")], b"x")),
    (("x", 200, {"retry-after": 5}), (200, TEXT, [("retry-after", "5")], b"x")),
    (("x", 200, {"a": 0.5, "b": "Łódź"}), (200, TEXT, [("a", "0.5"), ("b", "Łódź")], b"x")),
    (("x", 200, Message("a: 1\na: 2")), (200, TEXT, [("a", "1"), ("a", "2")], b"x")),
    (({"a": 1}, {"X-A": "1"}), (200, JSON, [("X-A", "1")], b'{"a":1}')),
    ((None, {"X-A": "1"}), (204, None, [("X-A", "1")], b"")),
    (("x", [("X-A", "1"), ("X-A", "2")]), (200, TEXT, [("X-A", "1"), ("X-A", "2")], b"x")),
    (("no", "404 NOT FOUND"), (404, TEXT, [], b"no")),
    (("no", "404"), (404, TEXT, [], b"no")),
    (("no", "404 NOT FOUND", {"X-A": "1"}), (404, TEXT, [("X-A", "1")], b"no")),
    (("zip", "90210"), (200, JSON, [], b'["zip","90210"]')),
    ((1, [["a", "b"]]), (200, JSON, [], b'[1,[["a","b"]]]')),
    (("x", []), (200, JSON, [], b'["x",[]]')),
    (FlaskResponse(), (201, "text/html", [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")], b"<p>")),
    ((FlaskResponse(), 202, {"X-A": "1"}), (202, "text/html", [*COOKIES, ("X-A", "1")], b"<p>")),
    (StarletteResponse(), (404, "text/plain", [], b"no")),
    (Data(200, {"a": "1"}), (200, JSON, [], b'{"status_code":200,"headers":{"a":"1"}}')),
    ((1, 2), (200, JSON, [], b"[1,2]")),
    ((1, 600), (200, JSON, [], b"[1,600]")),
    ((1, True), (200, JSON, [], b"[1,true]")),
    ((1, 200, 3), (200, JSON, [], b"[1,200,3]")),
    (Place("Oslo", 200), (200, JSON, [], b'["Oslo",200]')),
    ({"statusCode": 200}, (200, None, [], b"")),
    ({"statusCode": "404", "body": "no"}, (404, TEXT, [], b"no")),
    ({"statusCode": 200, "body": {"a": 1}}, (200, JSON, [], b'{"a":1}')),
    (
        {"statusCode": 200, "body": "iVBORw==", "isBase64Encoded": True, "headers": {"content-type": "image/png"}},
        (200, "image/png", [], b"\x89PNG"),
    ),
    ({"statusCode": 200, "body": "aGVs\nbG8=\r\n", "isBase64Encoded": True}, (200, OCTETS, [], b"hello")),
    ({"statusCode": 200, "body": None, "isBase64Encoded": True}, (200, None, [], b"")),
    ({"statusCode": 200, "statusDescription": "200 OK", "body": "ok"}, (200, TEXT, [], b"ok")),
    ({"statusCode": 200, "cookies": ["a=1", "b=2"], "headers": None}, (200, None, COOKIES, b"")),
    (
        {
            "statusCode": 200,
            "headers": {"x-a": "1", "X-B": "2", "x-c": "3"},
            "multiValueHeaders": {"X-A": ["1", "4"], "x-c": ["5"]},
        },
        (200, None, [("X-B", "2"), ("x-c", "3"), ("X-A", "1"), ("X-A", "4"), ("x-c", "5")], b""),
    ),
    ({"statusCode": 404.0}, (404, None, [], b"")),
    ({"statusCode": Decimal(404)}, (404, None, [], b"")),
    ({"statusCode": HTTPStatus.NOT_FOUND}, (404, None, [], b"")),
    ({"statusCode": 200, "headers": {"X-A": ["1", "2"]}}, (200, None, [("X-A", "1"), ("X-A", "2")], b"")),
]

REFUSED: list[tuple[Any, str]] = [
    ({"statusCode": 99}, r"\$\.statusCode: 99 is not an integer from 100 to 599"),
    ({"statusCode": "abc"}, r"\$\.statusCode: 'abc' is not"),
    ({"statusCode": True}, r"\$\.statusCode: True is not"),
    ({"statusCode": "9" * 5000}, r"\$\.statusCode: 9999 is not"),
    ({"statusCode": 200, "header": {}}, "cannot have 'header', only statusCode, headers, multiValueHeaders, cookies"),
    ({"statusCode": 200, "cookies": "a=1"}, r"\$\.cookies: 'a=1' is not a list of texts"),
    ({"statusCode": 200, "cookies": ["a=1\r\nx: y"]}, "headers.Set-Cookie: a value cannot hold line breaks"),
    ({"statusCode": 200, "multiValueHeaders": "a: b"}, "headers: 'a: b' is neither a dict nor a list of pairs"),
    ({"statusCode": 200.5}, r"\$\.statusCode: 200.5 is not an integer"),
    ({"statusCode": math.nan}, r"\$\.statusCode: nan is not an integer"),
    ({"statusCode": None}, r"\$\.statusCode: None is not an integer"),
    (({"a": 1}, {"b": 2, "c d": 3}), r"'c d' is not the name of a header; a tuple of two .* return a list"),
    (("x", {"b": {"c": 1}}), r"headers.b: an object of type dict cannot be the value .* return a list"),
    (("x", 999, {"a": "b"}), r"\$\[1\]: 999 is not a status from 100 to 599"),
    (("x", "not found", {}), r"\$\[1\]: 'not found' is not a status"),
    (
        StreamingResponse(),
        r"\$: an object of type .*StreamingResponse cannot be sent: return \(body, status, headers\)",
    ),
    ({"statusCode": 200, "body": "!", "isBase64Encoded": True}, r"\$\.body: not base64"),
    ({"statusCode": 200, "body": b"x", "isBase64Encoded": True}, r"\$\.body: isBase64Encoded needs text"),
    ({"statusCode": 200, "headers": "a: b"}, "headers: 'a: b' is neither a dict nor a list of pairs"),
    (("x", 200, ["ab"]), "headers: 'ab' is not a pair"),
    (("x", 200, {"a": "1\r\nSet-Cookie: evil=1"}), "headers.a: a value cannot hold line breaks"),
    (("x", 200, {"content-type": "text/html\n"}), "headers.content-type: a value cannot hold line breaks"),
    (("x", 200, {"a": "\ud800"}), "headers.a: a value cannot hold"),
    (("x", 200, {"a\r\nb": "1"}), "is not the name of a header"),
    (("x", 200, {"": "1"}), "'' is not the name of a header"),
    (("x", 200, {1: "1"}), "1 is not the name of a header"),
    (("x", 200, {"a": None}), "headers.a: an object of type NoneType cannot be the value"),
    (("x", 200, {"a": True}), "headers.a: an object of type bool cannot be the value"),
    (("x", 200, {"a": ["y" * 40_000] * 2}), "together longer than 65536 characters"),
    (("x", 200, {"content-type": "text/" + "x" * 1020}), "headers.content-type: longer than 1024 characters"),
    (("x", 200, {"a": [""] * 1001}), "headers: 1001 of them, over 1000"),
    (object(), r"\$: an object of type object cannot be encoded"),
]


@pytest.mark.parametrize(("value", "expected"), RESULTS)
def test_every_form(value: Any, expected: tuple[Any, ...]) -> None:
    assert tuple(encode_result(value)) == expected


@pytest.mark.parametrize(("value", "message"), REFUSED)
def test_what_is_refused(value: Any, message: str) -> None:
    with pytest.raises(Unencodable, match=message):
        encode_result(value)


def _generate() -> Iterator[int]:
    yield 1


async def _agenerate() -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize("stream", [_generate(), _agenerate(), (_generate(), 200)])
def test_streams_are_not_supported_yet(stream: Any) -> None:
    with pytest.raises(Unencodable, match="this version cannot stream"):
        encode_result(stream)


def test_a_forgotten_await_is_named() -> None:
    coroutine = asyncio.sleep(0)
    with pytest.raises(Unencodable, match="make the handler `async def`"):
        encode_result(coroutine)
    assert isinstance(coroutine, types.CoroutineType)
    assert coroutine.cr_frame is None  # closed: no warning about it later


@pytest.mark.invariant("I31")
@given(st.text())
def test_no_header_value_breaks_the_line(value: str) -> None:
    try:
        result = encode_result(("x", 200, {"a": value}))
    except Unencodable:
        assert any(ord(character) < 32 or ord(character) == 127 for character in value)
    else:
        assert result.headers == [("a", value)]
        assert not {"\r", "\n", "\0"} & set(value)
