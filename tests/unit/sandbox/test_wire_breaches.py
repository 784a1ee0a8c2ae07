"""Whatever a guest sends is a frame or a breach, never another error, and never costs the server memory."""

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sandbox import wire
from sandbox.frames import ChunkFrame, EndFrame, Frame, OkFrame
from sandbox.guest._forklight.wire import LENGTHS, MAX_HEADER_BYTES
from sandbox.wire import Breach

LIMIT = 1000
LONGEST = wire.CHUNK_BYTES
"""A `chunk` may be longer than a result."""
OK = {"t": "ok", "i": 1, "length": 0}
FAIL = {"t": "fail", "i": 1, "kind": "error", "code": "ValueError", "message": "no"}
OUTPUT = ["send", "orders", "text/plain", 2, 0.0, None, {}]


def framed(header: bytes, body: bytes = b"") -> bytes:
    return LENGTHS.pack(len(header), len(body)) + header + body


def packed(header: dict[str, Any], body: bytes = b"") -> bytes:
    return framed(json.dumps(header).encode(), body)


HEAD = {"t": "head", "i": 1, "status": 201, "headers": [["a", "b"]]}
CREDIT = {"t": "credit", "i": 1, "bytes": 7}
CALL = {"t": "call", "i": 1, "c": 1, "function": "f", "type": "text/plain"}
STREAM = packed(HEAD) + packed({"t": "chunk", "i": 1}, b"abc") + packed({"t": "end", "i": 1, "out": [OUTPUT]}, b"bc")
VALID = (
    packed(OK | {"length": 1, "out": [OUTPUT]}, b"abc") + packed(FAIL) + STREAM + packed(CREDIT) + packed(CALL, b"d")
)


def feed(pieces: list[bytes]) -> str:
    """`breach` or `fine`. Any other exception fails the test, and so does an illegal frame."""
    frames = wire.Frames(LIMIT)
    try:
        for piece in pieces:
            for frame, body in frames.feed(piece):
                assert isinstance(frame, Frame)
                assert len(body) <= (LONGEST if isinstance(frame, ChunkFrame) else LIMIT)
                if isinstance(frame, OkFrame | EndFrame):
                    cut = [body[: frame.length], *(output.body for output in wire.outputs(frame, body))]
                    assert b"".join(cut) == body
    except Breach:
        return "breach"
    return "fine"


@pytest.mark.invariant("I12")
@given(st.lists(st.binary(max_size=100)))
def test_any_bytes_are_frames_or_a_breach(pieces: list[bytes]) -> None:
    assert feed(pieces) in ("fine", "breach")


@pytest.mark.invariant("I12")
@given(st.binary(max_size=200), st.binary(max_size=20))
def test_any_header_of_the_right_length_is_a_frame_or_a_breach(header: bytes, body: bytes) -> None:
    assert feed([framed(header, body)]) == "breach"


@pytest.mark.invariant("I12")
@given(st.lists(st.tuples(st.integers(0, len(VALID) - 1), st.integers(0, 255)), min_size=1, max_size=5))
def test_frames_with_any_bytes_changed_are_frames_or_a_breach(changes: list[tuple[int, int]]) -> None:
    stream = bytearray(VALID)
    for at, byte in changes:
        stream[at] = byte
    assert feed([bytes(stream)]) in ("fine", "breach")


@pytest.mark.invariant("I12")
@given(st.integers(0, len(VALID) - 1))
def test_a_frame_cut_short_is_waited_for(length: int) -> None:
    assert feed([VALID[:length]]) == "fine"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)
HEADERS = [OK, FAIL, HEAD, CREDIT, CALL]
KNOWN = st.sampled_from([*OK, *FAIL, *HEAD, *CREDIT, *CALL, "out", "started_ns", "log"])


@pytest.mark.invariant("I12")
@given(
    st.sampled_from([OK, FAIL, HEAD, CREDIT, CALL]), st.dictionaries(KNOWN, JSON, max_size=3), st.binary(max_size=10)
)
@example(OK, {"out": [[*OUTPUT[:3], 2**63 - 1, *OUTPUT[4:]]] * 4}, b"")
def test_any_json_in_a_header_is_a_frame_or_a_breach(
    header: dict[str, Any], changes: dict[str, Any], body: bytes
) -> None:
    assert feed([packed(header | changes, body)]) in ("fine", "breach")


@pytest.mark.parametrize(
    "header",
    [
        OK | {"length": -1},
        OK | {"length": 1},
        OK | {"length": 2**63},
        OK | {"length": 2, "out": [[*OUTPUT[:3], -2, *OUTPUT[4:]]]},
        OK | {"out": [OUTPUT]},
        OK | {"out": [[*OUTPUT[:3], 0, -1.0, None, {}]]},
        OK | {"out": [["delete", *OUTPUT[1:3], 0, 0.0, None, {}]]},
        OK | {"out": [["send"]]},
        OK | {"i": -1},
        OK | {"i": "1"},
        OK | {"i": True},
        OK | {"status": 99},
        OK | {"status": 600},
        OK | {"headers": {"a": "b"}},
        OK | {"headers": [["a"]]},
        OK | {"t": "call"},
        {"t": "chunk"},
        {"t": "credit", "i": 1},
        {"t": "credit", "i": 1, "bytes": 0},
        {"t": "credit", "i": 1, "bytes": 2**53 + 1},
        {"t": "call", "i": 1, "c": 0, "function": "f"},
        {"t": "call", "i": 1, "c": 1},
        {"t": "head", "i": 1, "status": 99},
        {"t": "end", "i": 1, "out": [OUTPUT]},
        {"t": "invoke", "i": 1},
        {"t": "ok", "i": 1},
        FAIL | {"kind": "crash"},
        FAIL | {"code": None},
        FAIL | {"retry_after_s": -1},
        {"t": "fail", "i": 1},
        {},
    ],
    ids=str,
)
def test_a_header_that_is_not_exactly_one_of_ours_is_a_breach(header: dict[str, Any]) -> None:
    with pytest.raises(Breach):
        wire.Frames(LIMIT).feed(packed(header))


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"[]",
        b"\xff\xfe",
        b'{"t":"ok","i":1,"length":0',
        b'{"t":"ok","i":1,"length":0}}',
        b'{"t":"ok","i":1,"length":0,"type":"\xff"}',
        b'{"t":"ok","i":1,"length":0,"type":"\\ud800"}',
        b'{"t":"ok","i":1,"length":0,"started_ns":1e400}',
        b'{"t":"fail","i":1,"kind":"error","code":"a","message":"b","retry_after_s":NaN}',
        b"[" * 500_000,
        b'{"t":"ok","i":1,"length":0,"unknown":' + b"[" * 500_000,
        b'{"t":"ok","i":1,"length":0,"headers":' + b'{"a":' * 100_000,
    ],
    ids=lambda header: str(header[:80]),
)
def test_a_header_that_is_no_json_is_a_breach(header: bytes) -> None:
    with pytest.raises(Breach, match="an invalid frame header"):
        wire.Frames(LIMIT).feed(framed(header))


def test_a_body_without_a_place_in_the_header_is_a_breach() -> None:
    with pytest.raises(Breach, match="a frame body of 3 bytes whose header announces 0"):
        wire.Frames(LIMIT).feed(packed(FAIL, b"abc"))


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ((2**32 - 1, 0), "a frame header of 4294967295 bytes; the limit is 1048576"),
        ((MAX_HEADER_BYTES + 1, 0), "a frame header of 1048577 bytes; the limit is 1048576"),
        ((10, 2**32 - 1), "a frame body of 4294967295 bytes; the limit is 65536"),
        ((10, LONGEST + 1), "a frame body of 65537 bytes; the limit is 65536"),
    ],
)
def test_a_length_over_its_limit_is_a_breach_before_anything_arrives(lengths: tuple[int, int], message: str) -> None:
    with pytest.raises(Breach, match=message):
        wire.Frames(LIMIT).feed(LENGTHS.pack(*lengths))


@pytest.mark.parametrize(
    "header", [OK | {"length": LIMIT + 1}, {"t": "call", "i": 1, "c": 1, "function": "f"}], ids=str
)
def test_a_body_over_the_limit_of_results_is_a_breach(header: dict[str, Any]) -> None:
    with pytest.raises(Breach, match="a frame body of 1001 bytes; the limit is 1000"):
        wire.Frames(LIMIT).feed(packed(header, bytes(LIMIT + 1)))


def test_a_long_frame_with_a_wrong_header_is_a_breach_before_its_body_arrives() -> None:
    with pytest.raises(Breach, match="an invalid frame header"):
        wire.Frames(MAX_HEADER_BYTES).feed(LENGTHS.pack(10, MAX_HEADER_BYTES) + b"x" * 10)


def test_a_length_below_its_limit_costs_nothing_until_bytes_arrive() -> None:
    frames = wire.Frames(2**32 - 1)
    tracemalloc.start()
    try:
        assert frames.feed(LENGTHS.pack(MAX_HEADER_BYTES, 2**32 - 1)) == []
        assert frames.feed(b"{") == []
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 64 * 1024
