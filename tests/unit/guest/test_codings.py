"""A packed body is unpacked completely, up to a limit; an error says what is wrong."""

import contextlib
import gzip
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.guest._forklight.codings import TooLarge, unpack

TEXT = b"light " * 100
GZIP = gzip.compress(TEXT)
RAW = zlib.compress(TEXT)[2:-4]

UNPACKED = [
    (GZIP, "gzip", TEXT),
    (GZIP, "X-GZip", TEXT),
    (GZIP, " identity, gzip,", TEXT),
    (GZIP + GZIP, "gzip", TEXT + TEXT),
    (GZIP + bytes(20), "gzip", TEXT),
    (GZIP + bytes(20_000), "gzip", TEXT),
    (gzip.compress(b""), "gzip", b""),
    (zlib.compress(TEXT), "deflate", TEXT),
    (RAW, "deflate", TEXT),
    (gzip.compress(zlib.compress(TEXT)), "deflate, gzip", TEXT),
    (TEXT, "identity", TEXT),
    (TEXT, "", TEXT),
]


@pytest.mark.parametrize(("body", "coding", "text"), UNPACKED)
def test_unpacks(body: bytes, coding: str, text: bytes) -> None:
    assert unpack(body, coding, 10_000) == text


WRONG = [
    (GZIP[:-1], "gzip", "cut short"),
    (GZIP[:5], "gzip", "cut short"),
    (GZIP + GZIP[:15], "gzip", "cut short"),
    (RAW[:-3], "deflate", "cut short"),
    (GZIP + b"junk", "gzip", "not gzip"),
    (b"{}", "gzip", "not gzip"),
    (b"\xff\xff", "deflate", "not deflate"),
    (GZIP[:-8] + bytes(8), "gzip", "not gzip"),
    (TEXT, "br", "'?br'? is not supported"),
]


@pytest.mark.parametrize(("body", "coding", "reason"), WRONG)
def test_says_what_is_wrong(body: bytes, coding: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        unpack(body, coding, 10_000)


@pytest.mark.parametrize(
    ("coding", "body"), [("gzip", gzip.compress(bytes(1000))), ("deflate", zlib.compress(bytes(1000)))]
)
def test_the_bound_is_exact(coding: str, body: bytes) -> None:
    assert len(unpack(body, coding, 1000)) == 1000
    with pytest.raises(TooLarge, match="over 999 bytes"):
        unpack(body, coding, 999)


def test_a_bomb_is_never_blown_up() -> None:
    bomb = gzip.compress(gzip.compress(bytes(100_000_000)))
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge):
            unpack(bomb, "gzip, gzip", 1_000_000)
        assert tracemalloc.get_traced_memory()[1] < 3_000_000
    finally:
        tracemalloc.stop()


def test_many_empty_members_take_no_more_than_their_size() -> None:
    """The time is linear: the rest of the body is not copied for each member."""
    assert unpack(gzip.compress(b"") * 50_000, "gzip", 10) == b""


@pytest.mark.invariant("I15")
@given(st.lists(st.binary(max_size=50), min_size=1), st.sampled_from(["gzip", "deflate", "deflate, gzip"]))
def test_what_was_packed_comes_back(pieces: list[bytes], coding: str) -> None:
    data = b"".join(pieces)
    packed = b"".join(map(gzip.compress, pieces)) if coding == "gzip" else zlib.compress(data)
    assert unpack(gzip.compress(packed) if coding == "deflate, gzip" else packed, coding, len(data) + 100) == data


@pytest.mark.invariant("I15")
@given(st.binary(max_size=200), st.sampled_from(["gzip", "deflate"]))
def test_any_bytes_end_in_a_bounded_answer(body: bytes, coding: str) -> None:
    unpacked = b""
    with contextlib.suppress(ValueError):
        unpacked = unpack(body, coding, 1000)
    assert len(unpacked) <= 1000
