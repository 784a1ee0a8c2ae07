"""How publishers say that a body is compressed."""

import gzip
import zlib
from typing import Any

import pytest

from triggers.queue.packing import Packing, packing

BODY = b'{"a": 1}'


@pytest.mark.parametrize(
    ("content_encoding", "coding"),
    [
        (None, None),
        ("utf-8", None),
        ("binary", None),
        ("", None),
        ("gzip", "gzip"),
        ("GZIP", "gzip"),
        ("x-gzip", "gzip"),
        ("gzip:utf-8", "gzip"),
        ("deflate", "deflate"),
        ("zlib", "deflate"),
        ("deflate, gzip", "deflate, gzip"),
    ],
)
def test_a_coding_is_told_from_a_charset(content_encoding: str | None, coding: str | None) -> None:
    assert packing(content_encoding, {}, BODY) == Packing(coding)


@pytest.mark.parametrize("content_encoding", ["br", "zstd", "gzip, br", "utf-8;lz4"])
def test_a_compression_that_nobody_here_undoes_makes_bytes(content_encoding: str) -> None:
    assert packing(content_encoding, {}, BODY) == Packing(is_opaque=True)


def test_a_long_list_is_none() -> None:
    assert packing("gzip," * 5000, {}, BODY) == Packing()


@pytest.mark.parametrize(
    ("headers", "body", "expected"),
    [
        ({"compression": "application/x-gzip"}, zlib.compress(BODY), Packing("deflate")),
        ({"compression": "gzip"}, gzip.compress(BODY), Packing("gzip")),
        ({"compression": "application/x-gzip"}, BODY, Packing()),
        ({"compression": "application/x-bzip2"}, BODY, Packing(is_opaque=True)),
        ({"compression": "none"}, BODY, Packing()),
        ({"compression": 7}, BODY, Packing()),
    ],
)
def test_kombu_says_it_in_a_header(headers: dict[str, Any], body: bytes, expected: Packing) -> None:
    assert packing("utf-8", headers, body) == expected
