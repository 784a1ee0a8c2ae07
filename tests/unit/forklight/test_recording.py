"""Recordings: what an event becomes as a probe, and comes back as; what stays out; when a recording ends."""

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import pytest
from msgspec.structs import asdict

from bus.event import CallSection, Event
from bus.invocation import Invocation, QueueVerdict
from bus.message import Delivery, Envelope, Message, inbox
from forklight.commands.record import write_probe
from forklight.config.functions import FunctionSettings, Handler
from forklight.config.http import RouteSettings
from forklight.config.probe import event_of
from forklight.config.probe_file import read_probe
from forklight.deploying.recording import recorded
from forklight.deploying.secret_names import may_be_secret
from tests.kit.admin import Asked, serving
from tests.kit.support import until
from triggers.http import Route, RouteTable
from triggers.http.codec import to_event as http_event
from triggers.http.head import parse_head
from triggers.http.routes import Match
from triggers.queue import codec
from triggers.queue.settings import QueueSettings, inbox_of, trigger_of
from triggers.timer import TimerSettings, timers_of
from triggers.timer.events import to_event_now

SETTINGS = FunctionSettings(
    handler=Handler.parse("f:handler"),
    http=(RouteSettings(path="/orders/{id}", methods=("POST",)),),
    queue=(
        QueueSettings(queue="orders"),
        QueueSettings(queue="orders", broker="shop"),
        QueueSettings(queue="many", batch=10),
    ),
    timer=(TimerSettings(schedule="@daily", name="nightly"),),
)


def again(event: Event) -> tuple[dict[str, Any], Event]:
    """What is recorded of an event, and the probe that comes of it."""
    file = recorded(event).probe.encode()
    return json.loads(file), event_of("f", SETTINGS, read_probe(file))


def call(body: bytes, content_type: str | None) -> Event:
    section = CallSection(caller="cli")
    return Event(
        source="/x", type="forklight.call", function="f", datacontenttype=content_type, body=body, call=section
    )


def request(target: str, headers: dict[str, str], body: bytes = b"") -> Event:
    head = parse_head("POST", target, (1, 1), ({"host": "example.com"} | headers).items())
    found = RouteTable([Route(function="f", **asdict(SETTINGS.http[0]))]).find("POST", head.path)
    assert isinstance(found, Match)
    return http_event(head, found, body, remote="10.0.0.1", invocation_id="7", time="2026-01-31T12:00:00Z")


def message(place: int, sent: Message, **more: Any) -> Event:
    trigger = trigger_of(SETTINGS.queue[place], "f", slots=1, max_hops=1)
    return codec.to_event(Delivery(queue=trigger.queue, message=sent, lease=None, **more), trigger)


@pytest.mark.parametrize(
    ("content_type", "body", "written"),
    [
        ("application/json", b'{"n":  [1, 1.0],\n "s": "\\u0041\xc3\xa9" }', "data"),
        ("application/vnd.api+json", b'{"n":  1}', "content_type data"),
        ("application/json", b'{"n": 1}\n', "content_type text"),
        ("application/json", b'{"open": ', "content_type text"),
        ("application/json", b'1, "text": "2"', "content_type text"),
        ("application/json", b"[" * 100_000, "content_type text"),
        ("application/json", b'"\xff"', "content_type base64"),
        ("application/json", b"", "content_type"),
        ("application/x-www-form-urlencoded", b"a=1&b=2", "content_type text"),
        ("text/plain; charset=utf-8", "Grüße \u2028\x00".encode(), "content_type text"),
        ("image/png", b"\x89PNG\r\n\x1a\n\x00\xff", "base64 content_type"),
        (None, b"1", "text"),
        (None, b"", ""),
    ],
)
def test_a_body_comes_back_byte_for_byte(content_type: str | None, body: bytes, written: str) -> None:
    for event in (call(body, content_type), message(0, Message(body=body, content_type=content_type))):
        file, probe = again(event)
        assert set(file) - {"queue"} == set(written.split())
        assert (probe.body, probe.datacontenttype) == (body, content_type)
    file, probe = again(request("/orders/7", {"content-type": content_type} if content_type else {}, body))
    assert set(file) - {"http"} == set(written.split()) - {"content_type"}
    assert (probe.body, probe.datacontenttype) == (body, content_type)


def test_a_request_comes_back() -> None:
    headers = {"content-type": "text/plain", "content-length": "2", "x-tenant": "Ä", "content-encoding": "gzip"}
    headers |= {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "connection": "keep-alive"}
    event = request("/orders/a%2Fb?n=1&n=%C3%A4+x&flag", headers, b"hi")
    file, probe = again(event)
    assert file["http"]["path"] == "/orders/a%2Fb?n=1&n=%C3%A4+x&flag="
    assert event.http is not None
    assert probe.http is not None
    same = ("method", "path", "route", "params", "query", "query_all", "host")
    assert [getattr(probe.http, name) for name in same] == [getattr(event.http, name) for name in same]
    kept = {"host", "content-type", "x-tenant", "content-encoding"}
    assert {name: event.http.headers[name] for name in kept} == file["http"]["headers"]
    assert (probe.coding, probe.http.remote, probe.source) == ("gzip", "127.0.0.1", "/forklight/probe")
    cloud = {"ce-specversion": "1.0", "ce-id": "7", "ce-source": "/s", "ce-type": "made"}
    assert again(request("/orders/7", cloud))[1].type == "made"


def test_batches_inboxes_and_whole_cloud_events_come_back() -> None:
    headers = {
        "ce-id": "7",
        "ce-type": "made",
        "ce-time": "2026-01-31T12:00:00Z",
        "n": [1, {"b": True}],
        "forklight-hops": 1,
    }
    sent = Message(id="7", body=b"1", headers=headers, correlation_id="c", reply_to="r")
    properties = Envelope(type="order", priority=3, timestamp_s=1700000000.0, content_encoding="gzip")
    event = message(1, sent, routing_key="orders", attempt=2, envelope=properties)
    file, probe = again(event)
    assert (file["queue"], file["message"]["headers"]) == ("orders@shop", {"ce-type": "made", "n": [1, {"b": True}]})
    assert event.queue is not None
    assert probe.queue is not None
    same = ("name", "broker", "correlation_id", "reply_to", "routing_key", "type", "priority", "timestamp")
    assert [getattr(probe.queue, name) for name in same] == [getattr(event.queue, name) for name in same]
    assert (probe.type, probe.coding, probe.attempt) == ("made", "gzip", 1)
    assert probe.id != event.id, "every run of a probe is another message"

    whole = b'{"specversion":"1.0","id":"7","source":"/s","type":"made","subject":"x","data":{"n": 1}}'
    probe = again(message(0, Message(body=whole, content_type="application/cloudevents+json")))[1]
    assert (probe.body, probe.type, probe.subject) == (b'{"n": 1}', "made", "x")

    trigger = trigger_of(SETTINGS.queue[2], "f", slots=1, max_hops=1)
    items = [message(2, Message(id=str(n), body=b"%d" % n, headers={"n": n})) for n in range(3)]
    file, probe = again(codec.batch_event(items, trigger))
    assert len(file["batch"]) == 3
    assert [one.body for one in probe.items or ()] == [b"0", b"1", b"2"]
    assert [one.queue.headers["n"] for one in probe.items or () if one.queue] == [0, 1, 2]

    own = inbox_of("f", slots=1, max_hops=1)
    event = codec.to_event(Delivery(queue=inbox("f"), message=Message(body=b"1"), lease=None), own)
    file, probe = again(event)
    assert probe.queue is not None
    assert (file, probe.queue.name) == ({"queue": "forklight.inbox.f", "text": "1"}, "forklight.inbox.f")

    [timer] = timers_of("f", SETTINGS.timer)
    file, probe = again(to_event_now(timer, datetime.now(UTC)))
    assert (file, probe.timer is not None) == ({"timer": "nightly"}, True)


def test_what_may_be_secret_is_left_out_and_named() -> None:
    headers = {
        "authorization": "Bearer s3",
        "cookie": "a=s3",
        "x-auth": "s3",
        "x-author": "Ada",
        "idempotency-key": "k",
    }
    found = recorded(request("/orders/7?page=2&access_token=s3&x=Basic+s3", headers))
    file = json.loads(found.probe)
    assert file["http"]["path"] == "/orders/7?page=2"
    assert file["http"]["headers"] == {"host": "example.com", "x-author": "Ada", "idempotency-key": "k"}
    parameters = ("the parameter access_token", "the parameter x")
    assert found.left_out == (*parameters, "the header authorization", "the header cookie", "the header x-auth")
    found = recorded(message(0, Message(body=b"1", headers={"x-token": "s3", "tenant": "a", "t": {"password": "s3"}})))
    assert (json.loads(found.probe)["message"]["headers"], found.left_out) == (
        {"tenant": "a"},
        ("the header x-token", "the header t"),
    )


_JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln"


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        ("x-api-key", "1", True),
        ("key", "1", True),
        ("apikey", "1", True),
        ("accessToken", "1", True),
        ("X-Amz-Signature", "1", True),
        ("sig", "1", True),
        ("PHPSESSID", "1", True),
        ("client_secret", "1", True),
        ("x-forwarded-access-token", "1", True),
        ("stripe-signature", "1", True),
        ("x-user", _JWT, True),
        ("x-user", "fl_abcdefghijklmnopqrstuvwxyz", True),
        ("referer", "https://example.com/?token=1", True),
        ("referer", "https://example.com/?page=1", False),
        ("x-author", "Ada", False),
        ("idempotency-key", "1", False),
        ("x-routing-key", "1", False),
        ("monkey", "1", False),
        ("design", "1", False),
        ("content-type", "application/json", False),
        ("x-request-id", "0af7651916cd43dd8448eb211c80319c", False),
    ],
)
def test_what_looks_secret(name: str, value: str, *, secret: bool) -> None:
    assert may_be_secret(name, value) is secret


async def _waiting(asked: Asked, resource: str) -> "asyncio.Task[tuple[int, bytes]]":
    """The request, once it waits."""
    before = len(asked.running.bus._reporters)
    task = asyncio.create_task(asked.get(resource))
    await until(lambda: len(asked.running.bus._reporters) > before)
    return task


async def test_the_next_event_of_the_function_is_recorded(tmp_path: Path) -> None:
    async with serving(tmp_path) as asked:
        bus = asked.running.bus
        reporters = bus._reporters
        one, other = await _waiting(asked, "/record/greet"), await _waiting(asked, "/record/greet?timeout=1m")
        bus.report(Invocation(call(b"0", None), None))  # of another function
        bus.report(Invocation(None, None))  # a request without a function
        unread = Event(source="/x", type="t", function="greet")
        bus.report(Invocation(unread, None, QueueVerdict(())))  # settled without a run
        await asked.post("/invoke/greet", b"fail", headers={"Content-Type": "text/plain"})
        await asked.post("/invoke/greet", b"2")
        for status, answer in (await one, await other):
            assert (status, answer[:1], json.loads(answer)) == (
                200,
                b"\n",
                {"probe": '{\n  "content_type": "text/plain",\n  "text": "fail"\n}\n', "left_out": []},
            )
        await until(lambda: bus._reporters == reporters)


async def test_a_recording_ends_when_its_function_does_its_time_or_its_client(tmp_path: Path) -> None:
    async with serving(tmp_path) as asked:
        bus = asked.running.bus
        reporters = bus._reporters
        status, answer = await asked.get("/record/gret")
        assert (status, b"did you mean 'greet'" in answer) == (404, True)
        status, answer = await asked.get("/record/greet?timeout=soon")
        assert (status, b"the timeout 'soon'" in answer) == (400, True)
        status, answer = await asked.get("/record/greet?timeout=10ms")
        assert (status, json.loads(answer)) == (200, {"error": "no event of greet came within 10ms"})
        left = await _waiting(asked, "/record/greet")
        left.cancel()
        await until(lambda: bus._reporters == reporters)
        waiting = await _waiting(asked, "/record/greet")
        del asked.running.config.functions["greet"]
        assert json.loads((await waiting)[1]) == {"error": "greet was removed while its next event was waited for"}
        assert bus._reporters == reporters


def test_a_recording_is_written_as_a_whole_or_told(tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    probe = tmp_path / "probe.json"
    probe.write_text("the one before")
    held = probe.open(encoding="utf-8")
    write_probe(probe, "{}")
    assert (probe.read_text(), held.read()) == ("{}", "the one before"), "nobody reads half of it"
    held.close()
    with pytest.raises(click.ClickException, match="No space left on device; standard output has it"):
        write_probe(Path("/dev/full"), "{}")
    assert capsysbinary.readouterr().out == b"{}"
    (tmp_path / ".other.json.new").mkdir()
    with pytest.raises(click.ClickException, match=r"other.json cannot be written"):
        write_probe(tmp_path / "other.json", "{}")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".other.json.new", "probe.json"]
