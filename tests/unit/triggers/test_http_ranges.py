"""Range and conditional requests for files, and content types by file name."""

from email.utils import format_datetime, parsedate_to_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggers.http.files.ranges import ContentRange, choose_range, is_not_modified, precondition_failed
from triggers.http.files.types import content_type

ETAG, MODIFIED = '"abc-1"', "Mon, 23 Nov 2026 19:06:00 GMT"
MODIFIED_S = int(parsedate_to_datetime(MODIFIED).timestamp())


def chosen(value: str, size_bytes: int = 10, **headers: str) -> object:
    found = choose_range(
        {"range": value} | {name.replace("_", "-"): text for name, text in headers.items()}, size_bytes, ETAG, MODIFIED
    )
    return (found.start, found.size_bytes) if isinstance(found, ContentRange) else found


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=2-4", (2, 3)),
        ("bytes=2-", (2, 8)),
        ("bytes=-3", (7, 3)),
        ("bytes=-30", (0, 10)),
        ("bytes=8-30", (8, 2)),
        ("Bytes = 1-2", (1, 2)),
        ("bytes=10-", "unsatisfiable"),
        ("bytes=-0", "unsatisfiable"),
        ("bytes=4-2", "whole"),
        ("bytes=-", "whole"),
        ("bytes=0-1,3-4", "whole"),
        ("lines=0-1", "whole"),
        ("bytes=x-1", "whole"),
        ("bytes=\u0661-\u0662", "whole"),
    ],
)
def test_a_single_range(value: str, found: object) -> None:
    assert chosen(value) == found


def test_without_a_range_or_with_another_version_the_file_is_whole() -> None:
    assert choose_range({}, 10, ETAG, MODIFIED) == "whole"
    assert chosen("bytes=0-0", if_range=ETAG) == (0, 1)
    assert chosen("bytes=0-0", if_range=MODIFIED) == (0, 1)
    assert chosen("bytes=0-0", if_range='"old-1"') == "whole"
    assert chosen("bytes=0-0", if_range="Mon, 23 Nov 2026 19:05:59 GMT") == "whole"


@pytest.mark.invariant("I33")
@given(st.text(alphabet="bytes=-0123456789, ", max_size=30), st.integers(0, 100))
def test_a_range_lies_in_the_file(value: str, size_bytes: int) -> None:
    found = choose_range({"range": value}, size_bytes, ETAG, MODIFIED)
    if isinstance(found, ContentRange):
        assert found.size_bytes > 0
        assert 0 <= found.start < found.start + found.size_bytes <= size_bytes


@pytest.mark.parametrize(
    ("headers", "is_known"),
    [
        ({}, False),
        ({"if-none-match": ETAG}, True),
        ({"if-none-match": f'"x", W/{ETAG}'}, True),
        ({"if-none-match": "*"}, True),
        ({"if-none-match": '"x"'}, False),
        ({"if-modified-since": MODIFIED}, True),
        ({"if-modified-since": "Mon, 23 Nov 2026 19:05:59 GMT"}, False),
        ({"if-modified-since": "yesterday"}, False),
        ({"if-none-match": '"x"', "if-modified-since": MODIFIED}, False),
    ],
)
def test_a_file_that_the_client_has_is_not_sent_again(headers: dict[str, str], is_known: bool) -> None:
    assert is_not_modified(headers, ETAG, MODIFIED_S) is is_known


@pytest.mark.parametrize(
    ("headers", "failed"),
    [
        ({}, False),
        ({"if-match": ETAG}, False),
        ({"if-match": f'"x", {ETAG}'}, False),
        ({"if-match": "*"}, False),
        ({"if-match": '"x"'}, True),
        ({"if-match": f"W/{ETAG}"}, True),
        ({"if-match": f'W/{ETAG}, "x"'}, True),
        ({"if-unmodified-since": MODIFIED}, False),
        ({"if-unmodified-since": "Mon, 23 Nov 2026 19:05:59 GMT"}, True),
        ({"if-unmodified-since": "yesterday"}, False),
        ({"if-match": ETAG, "if-unmodified-since": "Mon, 23 Nov 2026 19:05:59 GMT"}, False),
    ],
)
def test_a_precondition_that_fails(headers: dict[str, str], failed: bool) -> None:
    assert precondition_failed(headers, ETAG, MODIFIED_S) is failed


@pytest.mark.invariant("I22")
@given(st.datetimes(), st.text(max_size=20))
def test_any_date_is_read_or_ignored(date: object, text: str) -> None:
    for value in (format_datetime(date), text):  # type: ignore[arg-type]
        assert is_not_modified({"if-modified-since": value}, ETAG, MODIFIED_S) in (True, False)
        assert precondition_failed({"if-unmodified-since": value}, ETAG, MODIFIED_S) in (True, False)
        assert precondition_failed({"if-match": text}, ETAG, MODIFIED_S) in (True, False)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("index.html", "text/html; charset=utf-8"),
        ("app.JS", "text/javascript; charset=utf-8"),
        ("data.json", "application/json; charset=utf-8"),
        ("logo.svg", "image/svg+xml; charset=utf-8"),
        ("photo.webp", "image/webp"),
        ("font.woff2", "font/woff2"),
        ("all.tar.gz", "application/gzip"),
        ("data:text/html,x", "application/octet-stream"),
        ("README", "application/octet-stream"),
    ],
)
def test_content_types(name: str, found: str) -> None:
    assert content_type(name) == found
