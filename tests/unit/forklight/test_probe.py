"""Probes: the event that a file means for each trigger, and what is wrong with other files."""

import json
from pathlib import Path
from typing import Any

import pytest

from bus import Event
from forklight.config.functions import FunctionSettings, Handler
from forklight.config.http import RouteSettings
from forklight.config.probe import probe_event
from triggers.queue.settings import QueueSettings
from triggers.timer import TimerSettings

SETTINGS = FunctionSettings(
    handler=Handler.parse("f:handler"),
    http=(RouteSettings(path="/orders/{id:int}", methods=("POST",), auth="key", scopes=("orders",)),),
    queue=(
        QueueSettings(queue="orders"),
        QueueSettings(queue="many", batch=2),
        QueueSettings(queue="x", broker="shop"),
    ),
    timer=(TimerSettings(schedule="@daily", name="nightly"),),
)


def event_of(folder: Path, written: Any) -> Event:
    file = folder / "probe.json"
    file.write_text(written if isinstance(written, str) else json.dumps(written))
    event = probe_event("f", SETTINGS, file)
    assert (event.function, event.source) == ("f", "/forklight/probe")
    return event


def test_a_file_means_an_event_of_a_trigger(tmp_path: Path) -> None:
    request = event_of(tmp_path, {"http": {"method": "POST", "path": "/orders/7?x=1"}, "data": {"n": [1]}})
    assert request.http is not None
    assert (request.http.params, request.http.query, request.http.scopes) == ({"id": 7}, {"x": "1"}, ["orders"])
    assert (request.datacontenttype, json.loads(request.body)) == ("application/json", {"n": [1]})
    message = event_of(tmp_path, {"queue": "orders", "data": 7})
    assert message.queue is not None
    assert (message.queue.name, message.body) == ("orders", b"7")
    assert len(event_of(tmp_path, {"queue": "many", "data": 7}).items or ()) == 1
    timer = event_of(tmp_path, {"timer": "nightly"})
    assert timer.timer is not None
    assert timer.timer.name == "nightly"
    call = event_of(tmp_path, {"data": "x"})
    assert call.call is not None
    assert (call.call.caller, call.body) == ("probe", b'"x"')


def test_a_body_is_json_text_or_bytes(tmp_path: Path) -> None:
    call = event_of(tmp_path, {"text": "a=1", "content_type": "application/x-www-form-urlencoded"})
    assert (call.body, call.datacontenttype) == (b"a=1", "application/x-www-form-urlencoded")
    assert event_of(tmp_path, '{"data": {"n":  1.0}}').body == b'{"n":  1.0}', "as it is written"
    request = {"method": "POST", "path": "/orders/7", "headers": {"Content-Type": "image/png"}}
    sent = event_of(tmp_path, {"http": request, "base64": "iVBORw=="})
    assert (sent.body, sent.datacontenttype) == (b"\x89PNG", "image/png")


def test_messages_have_headers_and_properties(tmp_path: Path) -> None:
    message = {
        "headers": {"tenant": "acme", "ce-type": "made", "ce-subject": "7"},
        "correlation_id": "c",
        "routing_key": "orders.new",
        "timestamp": "2026-01-31T12:00:00Z",
        "content_encoding": "gzip",
    }
    event = event_of(tmp_path, {"queue": "x@shop", "message": message, "base64": "H4sI"})
    assert event.queue is not None
    assert (event.type, event.subject, event.queue.headers["tenant"], event.coding) == ("made", "7", "acme", "gzip")
    assert (event.queue.broker, event.queue.correlation_id, event.queue.routing_key) == ("shop", "c", "orders.new")
    assert event.queue.timestamp == "2026-01-31T12:00:00Z"
    assert event_of(tmp_path, {"queue": "x", "data": 1}).queue is not None, "the broker may be left out"
    inbox = event_of(tmp_path, {"queue": "forklight.inbox.f", "data": 1})
    assert inbox.queue is not None, "what is sent to an inbox, unlike what is spawned, is a message"


def test_a_batch_has_several_messages(tmp_path: Path) -> None:
    batch = [{"data": 1, "message": {"headers": {"n": 1}}}, {"text": "2", "content_type": "text/plain"}]
    event = event_of(tmp_path, {"queue": "many", "batch": batch})
    assert event.items is not None
    assert [(one.body, one.datacontenttype, one.source) for one in event.items] == [
        (b"1", "application/json", "/forklight/probe"),
        (b"2", "text/plain", "/forklight/probe"),
    ]
    assert event.items[0].queue is not None
    assert event.items[0].queue.headers["n"] == 1


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ("{", "is not an event: .*; write one such as"),
        ('{"data": ' + "[" * 100_000, "is not an event: .*recursion"),
        ({"https": {}}, "is not an event: .*unknown field `https`"),
        ({"http": {"path": "/orders/7"}, "queue": "orders"}, "has http and queue: an event has one of them"),
        ({"http": {"path": "/orders/7"}}, "is a request to GET /orders/7, which is no route of the function"),
        ({"http": {"path": "/orders/../7"}}, "is an event that no handler gets: .*'..' segment"),
        (
            {"http": {"path": "/orders/7"}, "content_type": "text/plain"},
            "has http and content_type: write it as a header",
        ),
        ({"http": {"path": "/orders/7"}, "message": {}}, "has a message, which only an event of a queue has"),
        ({"queue": "other"}, "is a message of 'other', which the function does not consume"),
        ({"queue": "order"}, "does not consume.*did you mean 'orders'"),
        ({"timer": "weekly"}, "is a run of the timer 'weekly', which the function has not"),
        ({"timer": "nightly", "data": 1}, "has a timer and a body"),
        ({"data": 1, "text": "1"}, "has data and text: a body is one of them"),
        ({"base64": "!"}, "base64 is not base64"),
        ({"batch": [{"data": 1}]}, "has a batch, which only an event of a queue has"),
        ({"queue": "orders", "batch": [{"data": 1}]}, "takes the messages of 'orders' one by one"),
        ({"queue": "many", "batch": []}, "has a batch without messages"),
        ({"queue": "many", "batch": [{}], "data": 1}, "has a batch and a body or message beside it"),
        ({"queue": "many", "batch": [{}, {}, {}]}, "has 3 messages, and a batch of 'many' has at most 2"),
        ({"queue": "many", "batch": [{}, {"base64": "!"}]}, r"batch\[1\] base64 is not base64"),
        ({"queue": "many", "batch": [{}, {"date": 1}]}, r"unknown field `date` - at `\$.batch\[1\]`"),
        ({"queue": "orders", "message": {"timestamp": "noon"}}, "message.timestamp 'noon' is not a time"),
        (
            {"queue": "orders", "message": {"priority": "high"}},
            r"Expected `int \| null`, got `str` - at `\$.message.prior",
        ),
    ],
)
def test_what_is_no_event_of_the_function_says_why(tmp_path: Path, written: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        event_of(tmp_path, written)
    with pytest.raises(ValueError, match=r"no\.json cannot be read"):
        probe_event("f", SETTINGS, tmp_path / "no.json")
