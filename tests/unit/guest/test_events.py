"""The event dict that docs/handler.md describes."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.guest._forklight.decoding import Undecodable
from sandbox.guest._forklight.events import make_event

HTTP = {"method": "GET", "path": "/greet/Ada", "route": "/greet/{name}", "params": {"name": "Ada"}}


def test_an_event_has_its_attributes_its_section_its_body_and_its_data() -> None:
    fields = {
        "id": "e1",
        "source": "/http",
        "type": "forklight.http",
        "time": "2026-11-23T10:00:00Z",
        "datacontenttype": "application/json",
        "decode": None,
        "http": HTTP,
        "queue": None,
        "traceparent": "00-1-2-03",
        "hops": 1,
    }
    assert make_event(fields, b'{"x": 1}') == {
        "specversion": "1.0",
        "id": "e1",
        "source": "/http",
        "type": "forklight.http",
        "time": "2026-11-23T10:00:00Z",
        "subject": None,
        "datacontenttype": "application/json",
        "http": HTTP,
        "body": b'{"x": 1}',
        "data": {"x": 1},
    }


@pytest.mark.parametrize("section", ["http", "queue", "timer", "topic", "call"])
def test_only_its_own_section_is_there(section: str) -> None:
    event = make_event({"id": "e1", section: {"name": "n"}}, b"")
    assert event[section] == {"name": "n"}
    assert not {"http", "queue", "timer", "topic", "call"} - {section} & event.keys()


def test_the_events_of_a_batch_get_their_share_of_the_body() -> None:
    items = [
        {"id": "a", "datacontenttype": "application/json", "queue": {"name": "q"}, "length": 3},
        {"id": "b", "length": 0},
        {"id": "c", "decode": "text", "length": 2},
    ]
    event = make_event({"id": "batch", "queue": {"name": "q"}, "items": items}, b"[1]hi")
    assert event["body"] == b""
    assert [(item["id"], item["body"], item["data"]) for item in event["data"]] == [
        ("a", b"[1]", [1]),
        ("b", b"", None),
        ("c", b"hi", "hi"),
    ]
    assert event["data"][0]["queue"] == {"name": "q"}


def test_an_undecodable_event_of_a_batch_is_named() -> None:
    items = [{"id": "a", "length": 1}, {"id": "b", "decode": "json", "length": 1}]
    with pytest.raises(Undecodable, match=r"item 1 of the batch \(id 'b'\): the body cannot be decoded as json"):
        make_event({"id": "batch", "items": items}, b"x{")


@pytest.mark.invariant("I13")
@given(st.lists(st.binary(max_size=20)))
def test_a_batch_splits_where_it_was_joined(bodies: list[bytes]) -> None:
    items: list[dict[str, Any]] = [{"id": str(number), "length": len(body)} for number, body in enumerate(bodies)]
    event = make_event({"id": "batch", "items": items}, b"".join(bodies))
    assert [item["body"] for item in event["data"]] == bodies
