"""CloudEvents in structured mode: the body is the whole event."""

from typing import Any

import pytest
from msgspec import json

from triggers.queue.cloudevents import from_body, is_structured
from triggers.queue.errors import UnreadableError

EVENT = {"specversion": "1.0", "id": "e1", "source": "/shop", "type": "shop.sold"}


def body(**members: Any) -> bytes:
    return json.encode(EVENT | members)


@pytest.mark.parametrize(
    ("content_type", "structured"),
    [
        ("application/cloudevents+json", True),
        ("Application/CloudEvents+JSON; charset=utf-8", True),
        ("application/cloudevents-batch+json", False),
        ("application/json", False),
        ("", False),
        (None, False),
    ],
)
def test_the_media_type_says_so(content_type: str | None, structured: bool) -> None:
    assert is_structured(content_type) is structured


def test_json_data_stays_as_it_was_written() -> None:
    made = from_body(
        b'{"id":"e1","source":"/shop","type":"shop.sold","time":"2026-01-01T00:00:00Z","data": {"n": 1.10}}'
    )
    assert made.attributes == {"id": "e1", "source": "/shop", "type": "shop.sold", "time": "2026-01-01T00:00:00Z"}
    assert (made.datacontenttype, made.body) == ("application/json", b'{"n": 1.10}')


@pytest.mark.parametrize(
    ("members", "content_type", "found"),
    [
        ({}, "application/json", b""),
        ({"data": None}, "application/json", b"null"),
        ({"data": "text"}, "application/json", b'"text"'),
        ({"data": "<a/>", "datacontenttype": "text/xml"}, "text/xml", b"<a/>"),
        ({"data": [1], "datacontenttype": "text/xml"}, "text/xml", b"[1]"),
        ({"data": "x", "datacontenttype": "application/geo+json; a=b"}, "application/geo+json; a=b", b'"x"'),
        ({"data_base64": "/wA=", "datacontenttype": "image/png"}, "image/png", b"\xff\x00"),
        ({"data": 1, "datacontenttype": 7}, "application/json", b"1"),
    ],
)
def test_the_data_is_the_body(members: dict[str, Any], content_type: str, found: bytes) -> None:
    made = from_body(body(**members))
    assert (made.datacontenttype, made.body) == (content_type, found)


def test_a_broken_attribute_is_left_out() -> None:
    assert from_body(body(id=7, source=None, time="soon", subject="")).attributes == {"type": "shop.sold"}


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"{",
        b"[]",
        b"7",
        b"\xff",
        b'{"id": "\xff"}',
        b"[" * 100_000,
        b'{"data_base64": 7}',
        b'{"data_base64": "*"}',
        b'{"data_base64": "\xc3\xa4"}',
        b'{"data": ' + b"[" * 100_000 + b"}",
    ],
)
def test_a_body_that_is_no_cloud_event_is_unreadable(broken: bytes) -> None:
    with pytest.raises(UnreadableError, match="its body is not one"):
        from_body(broken)
