import locale
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.outcome import Ok
from bus.times import rfc3339_second
from triggers.http.answers import Answer, encode_answer
from triggers.http.codec import to_answer
from triggers.http.errors import ListenError
from triggers.http.socket.bind import parse_listen
from triggers.http.stamps import Stamps, http_date


def lines(head: bytes) -> list[str]:
    return head.decode().split("\r\n")


def test_an_answer_as_bytes() -> None:
    answer = Answer(200, (("set-cookie", "a=1"), ("set-cookie", "b=2"), ("x-a", "é")), b"hello")
    head, body = encode_answer(answer, method="GET", connection="connection: close\r\n", date="D")
    assert lines(head) == [
        "HTTP/1.1 200 OK",
        "server: forklight",
        "set-cookie: a=1",
        "set-cookie: b=2",
        "x-a: é",
        "content-length: 5",
        "date: D",
        "connection: close",
        "",
        "",
    ]
    assert body == b"hello"


@pytest.mark.parametrize(
    ("status", "method", "length"),
    [
        (200, "HEAD", "content-length: 5"),
        (204, "GET", None),
        (204, "HEAD", None),
        (205, "GET", "content-length: 0"),
        (205, "HEAD", "content-length: 0"),
        (304, "GET", None),
        (404, "HEAD", "content-length: 5"),
    ],
)
def test_answers_without_a_body(status: int, method: str, length: str | None) -> None:
    head, body = encode_answer(Answer(status, (), b"hello"), method=method, connection="", date="D")
    assert body == b""
    assert [line for line in lines(head) if line.startswith("content-length")] == ([length] if length else [])


@pytest.mark.invariant("I31")
@pytest.mark.parametrize(
    ("given_length", "method", "length"),
    [("123456", "HEAD", "123456"), ("1x", "HEAD", None), (None, "HEAD", None), ("123456", "GET", "0")],
)
def test_the_content_length_of_an_answer_to_head(given_length: str | None, method: str, length: str | None) -> None:
    """Only a handler that answers HEAD itself knows the length of the answer to GET (RFC 9110 §8.6)."""
    headers = (("Content-Length", given_length),) if given_length is not None else ()
    head, body = encode_answer(to_answer(Ok(headers=headers), "i"), method=method, connection="", date="D")
    assert body == b""
    lengths = [line.partition(": ")[2] for line in lines(head) if line.startswith("content-length")]
    assert lengths == ([length] if length is not None else [])


def test_a_status_without_a_reason_phrase() -> None:
    head, _ = encode_answer(Answer(299), method="GET", connection="", date="D")
    assert lines(head)[0] == "HTTP/1.1 299 "


@pytest.mark.invariant("I31")
@given(st.integers(0, 4_000_000_000))
def test_times_agree_with_the_standard_library(second: int) -> None:
    at = datetime.fromtimestamp(second, UTC)
    assert http_date(second) == format_datetime(at, usegmt=True)
    assert rfc3339_second(second) + "+00:00" == at.isoformat()


def test_dates_ignore_the_locale() -> None:
    before = locale.setlocale(locale.LC_TIME)
    locale.setlocale(locale.LC_TIME, "")
    try:
        assert http_date(0) == "Thu, 01 Jan 1970 00:00:00 GMT"
    finally:
        locale.setlocale(locale.LC_TIME, before)


def test_stamps_follow_the_clock_and_never_repeat_an_id() -> None:
    clock = iter([1_000_000_000, 1_000_001_999, 2_500_000_000, 2_600_000_000])
    stamps = Stamps(lambda: next(clock))
    assert [stamps.time(), stamps.time(), stamps.time()] == [
        "1970-01-01T00:00:01.000000Z",
        "1970-01-01T00:00:01.000001Z",
        "1970-01-01T00:00:02.500000Z",
    ]
    assert stamps.date() == "Thu, 01 Jan 1970 00:00:02 GMT"
    ids = {Stamps().invocation_id() for _ in range(100)} | {stamps.invocation_id() for _ in range(100)}
    assert len(ids) == 200


@pytest.mark.parametrize(
    ("listen", "address"),
    [("127.0.0.1:8080", ("127.0.0.1", 8080)), ("[::1]:0", ("::1", 0)), ("localhost:80", ("localhost", 80))],
)
def test_listen(listen: str, address: tuple[str, int]) -> None:
    assert parse_listen(listen) == address


@pytest.mark.parametrize("listen", ["8080", ":8080", "localhost", "localhost:http", "localhost:70000", "localhost:-1"])
def test_malformed_listen(listen: str) -> None:
    with pytest.raises(ListenError, match="host:port"):
        parse_listen(listen)
