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
    queue=(QueueSettings(queue="orders"), QueueSettings(queue="many", batch=10)),
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


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ("{", "is not an event: .*; write one such as"),
        ({"https": {}}, "is not an event: .*unknown field `https`"),
        ({"http": {"path": "/orders/7"}, "queue": "orders"}, "has http and queue: an event has one of them"),
        ({"http": {"path": "/orders/7"}}, "GET /orders/7 is no route of the function"),
        ({"http": {"path": "/orders/../7"}}, "is an event that no handler gets: .*'..' segment"),
        ({"queue": "other"}, "the function does not consume 'other'"),
        ({"timer": "weekly"}, "the function has no timer 'weekly'"),
    ],
)
def test_what_is_no_event_of_the_function_says_why(tmp_path: Path, written: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        event_of(tmp_path, written)
    with pytest.raises(ValueError, match=r"no\.json cannot be read"):
        probe_event("f", SETTINGS, tmp_path / "no.json")
