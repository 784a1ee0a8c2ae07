"""Bytes become the same requests and refusals however they are split."""

import asyncio
import tracemalloc
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from triggers.http.errors import RefusedError
from triggers.http.settings import HttpSettings
from triggers.http.socket.body import Body
from triggers.http.socket.budget import Budget
from triggers.http.socket.intake import TURN_BYTES, Intake
from triggers.http.socket.malformed import hopeless

SETTINGS = HttpSettings(max_line_bytes=64, max_field_bytes=64, max_headers=4, max_head_bytes=256)
LOOP = asyncio.new_event_loop()

PARTS = (
    b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n",
    b"POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n",
    b"POST /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"GET /u HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
    b"GET /w HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 2\r\n\r\n",
    b"GET /k HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"GET /l HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 18446744073709551615\r\n\r\n",
    b"GET /" + b"x" * 70 + b" HTTP/1.1\r\nHost: h\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"x" * 70 + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: h\r\n" + b"A: b\r\n" * 5 + b"\r\n",
    b"BREW / HTTP/1.1\r\nHost: h\r\n\r\n",
    b"BREW\r\n\r\n",
    b"get / HTTP/1.1\r\nHost: h\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"5\r\nhello\r\n",
    b"0\r\nX-T: 1\r\n\r\n",
    b"zz\r\n",
    b"hello",
    b"\r\n",
    b"\n",
    b"\r",
    b" ",
    b"\0",
    b"\x16\x03\x01",
    b"A: b\r\n",
    b"A_B: b\n",
    b" folded\r\n",
    b"HTTP/1.1",
    b"x" * 80,
)
STREAMS = st.lists(st.one_of(st.sampled_from(PARTS), st.binary(max_size=8)), max_size=8).map(b"".join)


def served(segments: list[bytes], *, early: bool = False) -> Iterator[tuple[object, ...]]:
    """Serve the segments as a connection does if every request reads its body, up to ten bytes.

    `early`: a segment also arrives while a request is ready and not taken yet.
    """
    intake = Intake(SETTINGS, LOOP)
    body: Body | None = None
    coming = iter(segments)
    for segment in coming:
        intake.keep(segment)
        try:
            while body is not None or intake.is_ready():
                if body is None:
                    if early and (more := next(coming, None)) is not None:
                        intake.keep(more)
                    request = intake.take()
                    yield "request", request.message.method, request.message.path, request.length
                    body = Body(10, Budget(1000, setting="", what=""))
                if not intake.read(body):
                    break
                yield "body", body.whole()
                body = None
                if not intake.may_go_on(request):
                    yield ("last",)
                    return
        except RefusedError as refused:
            yield "refused", refused.status, refused.detail, refused.method
            return


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    bounds = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return [stream[start:end] for start, end in pairwise(bounds) if start < end]


@pytest.mark.invariant("I30")
@given(STREAMS, st.lists(st.integers(0, 1000), max_size=6))
@example(b"GET /" + b"x" * 70 + b"\n", [])
@example(b"\x16\x03\x01" + b"x" * 80 + b"\r\n\r\n", [])
@example(PARTS[4] + b"hi" + PARTS[0], [])
@example(PARTS[0] * 3, [len(PARTS[0]) * 2])
@example((PARTS[1] + b"hello") * 2 + PARTS[0], [2 * len(PARTS[1])])
@example(PARTS[2] + b"5\r\nhello\r\n5\r\nhello\r\n5\r\nhello\r\nzz", [])
def test_how_a_stream_is_split_changes_nothing(stream: bytes, places: list[int]) -> None:
    whole = list(served([stream]))
    assert list(served(cut(stream, places))) == whole
    assert list(served(cut(stream, places), early=True)) == whole
    assert list(served([stream[at : at + 1] for at in range(len(stream))])) == whole


@pytest.mark.invariant("I30")
@given(
    st.lists(st.sampled_from([PARTS[0], PARTS[1] + b"hello", PARTS[3], PARTS[4] + b"hi", PARTS[5]]), max_size=8),
    st.lists(st.integers(0, 1000), max_size=6),
)
def test_a_head_that_comes_again_becomes_the_same_as_alone(requests: list[bytes], places: list[int]) -> None:
    alone = [step for request in requests for step in served([request])]
    assert list(served([b"".join(requests)])) == alone
    assert list(served(requests)) == alone
    assert list(served(cut(b"".join(requests), places))) == alone


def test_a_head_that_comes_again_is_not_parsed_again() -> None:
    intake = Intake(SETTINGS, LOOP)
    intake.keep(PARTS[0] * 2 + PARTS[5] + PARTS[0])
    requests = []
    while intake.is_ready():
        requests.append(intake.take())
    assert requests[1] is requests[0]
    assert [request.message.path for request in requests] == ["/a", "/a", "/k", "/a"]


@pytest.mark.invariant("I30")
@given(STREAMS)
def test_a_hopeless_head_stays_hopeless_and_is_never_served(stream: bytes) -> None:
    found = None
    for end in range(len(stream) + 1):
        now = hopeless(stream[:end], SETTINGS)
        if found is not None:
            assert now is not None
            assert (now.status, now.detail) == (found.status, found.detail)
        found = now
    if found is not None and not stream.startswith((b"\r", b"\n")):
        first = next(served([stream]))
        head = stream.partition(b"\r\n\r\n")[0]
        assert first[0] == "refused" or hopeless(head + b"\r\n\r\n", SETTINGS) is None


@pytest.mark.parametrize("upgrade", [b"h2c", b"TLS/1.0", b"foo", b"websocket", b"h2c, websocket"])
def test_nothing_behind_an_upgrade_is_lost(upgrade: bytes) -> None:
    first = (
        b"POST /u HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: %s\r\nContent-Length: 2\r\n\r\nhi" % upgrade
    )
    second = b"POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n"
    assert list(served([first + second, b"hello", PARTS[0]])) == [
        ("request", "POST", "/u", 2),
        ("body", b"hi"),
        ("request", "POST", "/b", 5),
        ("body", b"hello"),
        ("request", "GET", "/a", 0),
        ("body", b""),
    ]


def test_a_trailer_is_no_header_of_the_next_request() -> None:
    intake = Intake(SETTINGS, LOOP)
    intake.keep(PARTS[2] + b"0\r\nX-Evil: 1\r\n\r\n" + PARTS[0])
    assert intake.is_ready()
    request = intake.take()
    body = Body(10, Budget(1000, setting="", what=""))
    assert intake.read(body)
    assert not intake.may_go_on(request)


def test_a_chunked_body_is_parsed_in_turns() -> None:
    """A chunk of one byte costs as much as any: parsing a whole read of them would block other clients."""
    count = 100_000
    intake = Intake(SETTINGS, LOOP)
    intake.keep(PARTS[2])
    assert intake.is_ready()
    intake.take()
    body = Body(count, Budget(1, setting="", what=""))
    stream = b"1\r\nx\r\n" * count + b"0\r\n\r\n"
    intake.keep(stream)
    turns = 1
    while not intake.read(body):
        assert not intake.is_empty
        turns += 1
    assert turns == -(-len(stream) // TURN_BYTES)
    assert body.whole() == b"x" * count


def test_a_body_in_the_smallest_pieces_takes_no_more_memory_than_it_is_long() -> None:
    size = 300_000
    intake = Intake(SETTINGS, LOOP)
    intake.keep(b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % size)
    assert intake.is_ready()
    intake.take()
    body = Body(size, Budget(size, setting="", what=""))
    tracemalloc.start()
    try:
        for at in range(0, size, 2):
            intake.keep(b"%02d" % (at % 100))
            is_whole = intake.read(body)
        held_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert is_whole
    assert len(body.whole()) == size
    assert held_bytes < 2 * size


def test_a_complete_body_is_held_once() -> None:
    size, piece = 16 * 65_536, 65_536
    body = Body(size, Budget(size, setting="", what=""))
    tracemalloc.start()
    try:
        for _ in range(0, size, piece):
            body.add(bytes(piece))
        whole = body.whole()
        held_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(whole) == size
    assert held_bytes < size + piece
