"""Events for tests: what their builders take, and what they refuse as a server would."""

import gzip
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forklight.testing import batch, call, http, queue, run, timer
from forklight.testing.bodies import Files
from forklight.testing.frames import event_of, seen


def test_a_request_has_what_the_route_says() -> None:
    event = http("GET", "/users/7?a=1", route="/users/{id:int}", query={"b": [2, 3]}, cookies={"s": "x"})
    assert event["http"]["params"] == {"id": 7}
    assert event["http"]["route"] == "/users/{id:int}"
    assert event["http"]["query_all"] == {"a": ["1"], "b": ["2", "3"]}
    assert event["http"]["cookies"] == {"s": "x"}


def test_a_request_has_a_key_and_its_scopes() -> None:
    event = http("GET", "/", key="alice", scopes=["a", "b"])
    assert (event["http"]["key"], event["http"]["scopes"]) == ("alice", ["a", "b"])
    assert (http("GET", "/")["http"]["key"], http("GET", "/")["http"]["scopes"]) == (None, [])
    with pytest.raises(ValueError, match="scopes are those of a key"):
        http("GET", "/", scopes=["a"])


@pytest.mark.parametrize("name", ["Ada", "Ada Lovelace", "a/b", "ä", "50%"])
def test_parameters_fill_the_path(name: str) -> None:
    event = http("GET", "/greet/{name}", params={"name": name})
    assert event["http"]["params"] == {"name": name}
    assert event["http"]["path"].isascii()


def test_a_path_parameter_keeps_its_slashes() -> None:
    assert http("GET", "/files/{rest:path}", params={"rest": "a/b"})["http"]["path"] == "/files/a/b"


def test_without_a_route_parameters_are_as_given() -> None:
    assert http("GET", "/greet/Ada", params={"name": "Ada"})["http"]["params"] == {"name": "Ada"}


@pytest.mark.parametrize(
    ("body", "content_type", "data"),
    [
        ({"json": {"a": [1]}}, "application/json", {"a": [1]}),
        ({"json": None}, "application/json", None),
        ({"text": "ä"}, "text/plain; charset=utf-8", "ä"),
        ({"form": {"a": "1", "b": [2, 3]}}, "application/x-www-form-urlencoded", {"a": "1", "b": ["2", "3"]}),
        ({"data": b"\x00"}, None, b"\x00"),
        ({}, None, None),
    ],
)
def test_a_body_and_its_type(body: dict[str, Any], content_type: str | None, data: object) -> None:
    event = http("POST", "/", **body)
    assert (event["datacontenttype"], event["data"]) == (content_type, data)
    assert event["http"]["headers"]["content-length"] == str(len(event["body"]))


def test_a_header_says_the_type_of_bytes() -> None:
    event = http("POST", "/", data=b"[1]", headers={"Content-Type": "application/json"})
    assert event["data"] == [1]
    assert http("POST", "/", data=b"[1]", headers=event["http"]["headers"], decode="text")["data"] == "[1]"


def test_files_make_a_multipart_form(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    files: Files = {
        "photo": ("Größe 1.png", b"\x89PNG\r\n--"),
        "rows": [("a.dat", b"1", "text/csv"), b"2"],
        "notes": tmp_path / "notes.txt",
    }
    event = http("POST", "/", form={"titel": "Äpfel", "tags": ["a", 'b"']}, files=files)
    assert event["data"] == {
        "fields": {"titel": "Äpfel", "tags": ["a", 'b"']},
        "files": [
            {"name": "photo", "filename": "Größe 1.png", "content_type": "image/png", "body": b"\x89PNG\r\n--"},
            {"name": "rows", "filename": "a.dat", "content_type": "text/csv", "body": b"1"},
            {"name": "rows", "filename": "rows", "content_type": "application/octet-stream", "body": b"2"},
            {"name": "notes", "filename": "notes.txt", "content_type": "text/plain", "body": b"x"},
        ],
    }


def test_files_are_given_by_their_fields() -> None:
    pairs = [("invoice", b"%PDF"), ("invoice", b"%PDF")]
    with pytest.raises(ValueError, match="a field of several files has a list of them"):
        http("POST", "/", files=cast("Files", pairs))


def test_a_form_without_files_can_be_multipart() -> None:
    event = http("POST", "/", form={"a": 1}, files={})
    assert event["data"] == {"fields": {"a": "1"}, "files": []}
    assert http("POST", "/", files={})["data"] == {"fields": {}, "files": []}


@given(
    st.dictionaries(st.text(max_size=5), st.text(), max_size=3),
    st.dictionaries(st.text(max_size=5), st.tuples(st.text(max_size=5), st.binary()), max_size=3),
)
@pytest.mark.invariant("I15")
def test_any_form_arrives(form: dict[str, str], files: dict[str, tuple[str, bytes]]) -> None:
    found = http("POST", "/", form=form, files=cast("Files", files))["data"]
    assert list(found["fields"].values()) == list(form.values())
    assert [file["body"] for file in found["files"]] == [body for _, body in files.values()]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"path": "/a/../b"}, "a server refuses this request: the path contains a '.' or '..' segment"),
        ({"path": "/", "method": "get"}, "a server refuses this request: unknown method"),
        ({"path": "/users/x", "route": "/users/{id:int}"}, "GET /users/x is not what the route /users/{id:int} takes"),
        ({"path": "/x", "route": "/{"}, "a server refuses this request: path '/{'"),
        ({"path": "/{a}", "params": {"b": 1}}, "/{a} takes the parameters a, not b"),
        ({"path": "/", "data": b"{", "headers": {"content-type": "application/json"}}, "no handler gets this event: "),
        ({"path": "/", "json": 1, "text": "1"}, "not of text and json"),
    ],
)
def test_what_a_server_refuses_is_refused(arguments: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError) as raised:
        http(**({"method": "GET"} | arguments))
    assert why in str(raised.value)


def test_a_packed_body_is_unpacked_and_comes_back_to_a_handler_as_it_was() -> None:
    packed = gzip.compress(b"[1]")
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    event = http("POST", "/", data=packed, headers=headers)
    assert (event["data"], event["body"]) == ([1], packed)
    assert run(lambda event: event["data"], event).response.json() == [1]
    with pytest.raises(ValueError, match=r"refuses this request: .* Content-Encoding br"):
        http("POST", "/", data=packed, headers={"content-encoding": "br"})


def test_a_message() -> None:
    event = queue("orders", json=[1], attempt=3, message_id="m-1", headers={"tenant": "acme", "forklight-hops": 9})
    assert (event["id"], event["data"], event["source"]) == ("m-1", [1], "/forklight/cli")
    assert (event["queue"]["attempt"], event["queue"]["headers"]["tenant"]) == (3, "acme")
    assert "forklight-hops" not in event["queue"]["headers"]


def test_a_message_that_no_handler_gets() -> None:
    deep: Any = "x"
    for _ in range(40):
        deep = {"a": deep}
    with pytest.raises(ValueError, match="nested more than"):
        queue("orders", headers={"deep": deep})


def test_a_batch_has_its_messages_as_they_are() -> None:
    items = [queue("orders", json=1, decode="text"), queue("orders", data=b"x", attempt=4)]
    event = batch(items)
    assert event["data"] == items
    assert (event["queue"]["name"], event["queue"]["attempt"]) == ("orders", 4)


@pytest.mark.parametrize("items", [[], [http("GET", "/")]])
def test_a_batch_is_made_of_messages(items: Any) -> None:
    with pytest.raises(ValueError, match="made of the events of messages"):
        batch(items)


def test_a_run_of_a_timer() -> None:
    at = datetime(2026, 7, 1, 0, 30, tzinfo=UTC)
    event = timer(
        "report", schedule="30 2 * * *", timezone="Europe/Berlin", scheduled_at=at, missed=2, function="sales"
    )
    assert event["timer"] == {
        "name": "report",
        "schedule": "30 2 * * *",
        "timezone": "Europe/Berlin",
        "scheduled_at": "2026-07-01T02:30:00+02:00",
        "past_due": True,
        "missed": 2,
    }
    assert event["id"] == "sales/report/2026-07-01T00:30:00Z"
    assert timer(scheduled_at="2026-07-01T02:30:00+02:00")["time"] == "2026-07-01T00:30:00Z"


def test_a_timer_has_the_next_time_of_its_schedule() -> None:
    assert timer(schedule="0 12 * * *")["timer"]["scheduled_at"].endswith("T12:00:00+00:00")
    assert timer(every="5m")["timer"]["schedule"] == "every 300s"
    assert timer(at="2030-01-01T00:00")["timer"]["scheduled_at"] == "2030-01-01T00:00:00+00:00"


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"schedule": "61 * * * *"}, "61"),
        ({"schedule": "0 1 * * *", "every": "5m"}, "exactly one of"),
        ({"at": "2020-01-01T00:00"}, "never comes again: give scheduled_at"),
        ({"scheduled_at": "2026-07-01T02:30:00"}, "has no offset"),
    ],
)
def test_a_timer_that_is_none(arguments: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        timer(**arguments)


def test_a_call() -> None:
    assert call(json={"a": 1})["call"] == {"caller": "cli"}
    assert call(text="x", caller="upload")["call"] == {"caller": "upload"}


@pytest.mark.parametrize(
    "event",
    [
        http("POST", "/x", json={"a": 1}),
        http("POST", "/x", json={"a": 1}, decode="bytes"),
        queue("orders", text="x"),
        batch([queue("orders", text="x"), queue("orders")]),
        timer(),
        call(json=[]),
    ],
    ids=["http", "decode", "queue", "batch", "timer", "call"],
)
def test_an_event_is_what_it_was_made_of(event: Any) -> None:
    assert seen(event_of(event)) == event


def test_an_event_by_hand_needs_nothing_but_what_matters() -> None:
    event = seen(event_of({"data": {"when": datetime(2026, 1, 1, tzinfo=UTC)}}))
    assert event["data"] == {"when": "2026-01-01T00:00:00Z"}
    assert (event["datacontenttype"], event["call"]) == ("application/json", {"caller": "test"})


@pytest.mark.parametrize(
    ("event", "why"),
    [
        ({"dat": 1}, "an event has no 'dat', only specversion, id"),
        ({"data": 1, "http": {"path": "/"}}, "no trigger makes such an event: Object missing required field `method`"),
        (call(json=1) | {"data": 2}, "the event's data is not what its body holds"),
    ],
)
def test_an_event_by_hand_that_is_none(event: Any, why: str) -> None:
    with pytest.raises(ValueError) as raised:
        event_of(event)
    assert why in str(raised.value)


def test_a_message_says_what_a_broker_would() -> None:
    body = gzip.compress(b'{"n": 1}')
    event = queue("orders", data=body, content_type="application/json", content_encoding="gzip", priority=3)
    assert (event["data"], event["body"], event["queue"]["priority"]) == ({"n": 1}, body, 3)
    assert event_of(event).coding == "gzip"
    timed = queue("orders", json=1, timestamp=datetime(2026, 1, 1, tzinfo=UTC), type="order.created")
    assert timed["queue"]["timestamp"] == "2026-01-01T00:00:00Z"
    assert timed["queue"]["type"] == "order.created"
