"""Requests of a client of the Runtime API, from bytes that may be cut anywhere."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.guest._forklight.http_requests import Malformed, Request, Requests, response

pytestmark = pytest.mark.any_user
NEXT = b"GET /next HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNKED = (
    b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"4;name=value\r\nspam\r\nA\r\n, and eggs\r\n0\r\nX-Error: Torn\r\n\r\n"
)
POSTED = b"POST /x?y=1 HTTP/1.1\r\nContent-Length: 3\r\nConnection: close\r\nX-A:  b \r\n\r\nabc"
OLD = b"GET / HTTP/1.0\r\n\r\n"


def read(data: bytes, cuts: "tuple[int, ...]" = (), most_bytes: int = 1000) -> "list[Request]":
    requests, found, start = Requests(most_bytes), [], 0
    for end in (*sorted(cuts), len(data)):
        found += requests.feed(data[start:end])
        start = max(start, end)
    return found


@pytest.mark.invariant("I30")
@given(st.lists(st.integers(0, len(NEXT + CHUNKED + POSTED)), max_size=8))
def test_how_bytes_are_cut_changes_nothing(cuts: "list[int]") -> None:
    first, chunked, posted = read(NEXT + CHUNKED + POSTED, tuple(cuts))

    assert (first.method, first.path, first.body, first.keeps_alive) == ("GET", "/next", b"", True)
    assert (chunked.body, chunked.headers["x-error"]) == (b"spam, and eggs", "Torn")
    assert (posted.path, posted.headers["x-a"], posted.body, posted.keeps_alive) == ("/x?y=1", "b", b"abc", False)


def test_http_1_0_ends_its_connection() -> None:
    (request,) = read(OLD)
    (kept,) = read(OLD[:-2] + b"Connection: keep-alive\r\n\r\n")

    assert (request.keeps_alive, kept.keeps_alive) == (False, True)


@pytest.mark.parametrize("data", [CHUNKED, POSTED])
def test_a_body_that_is_too_large_is_dropped_and_the_next_request_is_read(data: bytes) -> None:
    large, after = read(data.replace(b"Connection: close\r\n", b"") + NEXT, most_bytes=2)

    assert (large.body, after.path) == (None, "/next")


def test_a_client_that_waits_with_its_body_is_told_to_go_on() -> None:
    requests = Requests(1000)
    assert requests.feed(b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n") == []
    assert requests.awaits_continue
    (request,) = requests.feed(b"ab")

    assert (request.body, requests.awaits_continue) == (b"ab", False)


@pytest.mark.parametrize(
    "data",
    [
        b"hello\r\n\r\n",
        b"GET / HTTP/2\r\n\r\n",
        b"GET  / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nno header\r\n\r\n",
        b"GET / HTTP/1.1\r\n name: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1x\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nno number\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
        b"x" * 3_000_000,
    ],
)
def test_what_is_no_request_is_refused(data: bytes) -> None:
    with pytest.raises(Malformed):
        read(data)


@pytest.mark.invariant("I22")
@given(st.binary(max_size=200))
def test_any_bytes_are_requests_or_malformed(data: bytes) -> None:
    requests = Requests(100)
    with contextlib.suppress(Malformed):
        assert all(isinstance(one, Request) for one in requests.feed(data))


def test_a_response_has_the_length_of_its_body() -> None:
    assert response(202, b"ab", (("X-A", "b"),)) == (
        b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\nContent-Type: application/json\r\nX-A: b\r\n\r\nab"
    )
