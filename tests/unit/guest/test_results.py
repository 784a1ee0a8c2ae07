"""Every form a handler may return, and what is refused."""

import asyncio
import types
from collections.abc import AsyncIterator, Iterator
from http import HTTPStatus
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.guest._forklight.encoding import Unencodable
from sandbox.guest._forklight.results import encode_result

TEXT = "text/plain; charset=utf-8"
JSON = "application/json"


class Place(NamedTuple):
    name: str
    code: int


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
    ({"statusCode": 200, "headers": {"X-A": ["1", "2"]}}, (200, None, [("X-A", "1"), ("X-A", "2")], b"")),
]

REFUSED: list[tuple[Any, str]] = [
    ({"statusCode": 99}, r"\$\.statusCode: 99 is not an integer from 100 to 599"),
    ({"statusCode": "abc"}, r"\$\.statusCode: 'abc' is not"),
    ({"statusCode": True}, r"\$\.statusCode: True is not"),
    ({"statusCode": "9" * 5000}, r"\$\.statusCode: 9999 is not"),
    ({"statusCode": 200, "cookies": []}, "cannot have 'cookies', only statusCode, headers, body, isBase64Encoded"),
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


@given(st.text())
def test_no_header_value_breaks_the_line(value: str) -> None:
    try:
        result = encode_result(("x", 200, {"a": value}))
    except Unencodable:
        assert any(ord(character) < 32 or ord(character) == 127 for character in value)
    else:
        assert result.headers == [("a", value)]
        assert not {"\r", "\n", "\0"} & set(value)
