"""The record of requests: one for each, whatever its end, under the id that its answer carries."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from bus.event import Event
from bus.invocation import HttpVerdict
from bus.outcome import ExceptionName, Failed, Ok, Outcome
from tests.kit.http_server import Client, Running, request, running
from triggers.http import Cors, HttpSettings, Route, StaticRoute

pytestmark = pytest.mark.any_user

OURS = ("x-forklight-id", "x-forklight-start", "server-timing")
PREFLIGHT = "Origin: https://a.example\r\nAccess-Control-Request-Method: GET\r\n"
CLOUD_EVENT = "ce-specversion: 1.0\r\nce-source: /s\r\nce-type: t\r\nce-id: a%1b[31m%0Ab\r\n"


async def handle(event: Event) -> Outcome:
    match event.body:
        case b"fail":
            return Failed(kind="error", code=ExceptionName("KeyError"), message="x", start="warm")
        case b"full":
            return Failed(kind="throttled", code="QueueFull", message="x")
        case b"late":
            return Failed(kind="timeout", code="Timeout", message="x", start="warm")
        case b"split":
            return Ok(headers=(("x", "1\r\ny: 2"),), start="warm")
        case b"own 404":
            return Ok(status=404, start="warm")
        case b"wait":
            await asyncio.Event().wait()
    return Ok(body=b"ok", start="warm")


@asynccontextmanager
async def recorded(folder: Path, **settings: Any) -> AsyncIterator[Running]:
    (folder / "a.txt").write_text("a")
    routes = (
        Route(function="f", path="/f", max_body_bytes=16),
        Route(function="f", path="/cors", methods=("GET",), cors=Cors(origins=("*",))),
        Route(function="f", path="/keys", auth="key"),
    )
    given: dict[str, Any] = {
        "listen": "127.0.0.1:0",
        "static": (StaticRoute(path="/files", dir=folder),),
        "header_timeout_s": 0.2,
        "body_timeout_s": 0.2,
    }
    async with running(handle, routes, HttpSettings(**(given | settings)), keys=folder / "keys") as house:
        yield house


def summary(verdict: HttpVerdict) -> tuple[int, str, str, str]:
    return (verdict.status, verdict.reason, verdict.method, verdict.path)


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (request("/f?secret=1"), (200, "function", "GET", "/f")),
        (request("/f", "POST", CLOUD_EVENT, b"x"), (200, "function", "POST", "/f")),
        (request("/f", "POST", body=b"own 404"), (404, "function", "POST", "/f")),
        (request("/f", "POST", body=b"fail"), (500, "error", "POST", "/f")),
        (request("/f", "POST", body=b"split"), (500, "error", "POST", "/f")),
        (request("/f", "POST", body=b"full"), (429, "throttled", "POST", "/f")),
        (request("/f", "POST", body=b"late"), (504, "timeout", "POST", "/f")),
        (request("/f", "POST", body=b"x" * 17), (413, "too_large", "POST", "/f")),
        (request("/f", "POST", "Content-Length: 9\r\n"), (408, "slow", "POST", "/f")),
        (request("/f", "POST", "ce-specversion: 9\r\n"), (400, "malformed", "POST", "/f")),
        (request("/none"), (404, "no_route", "GET", "/none")),
        (request("/%zz"), (400, "malformed", "GET", "/%zz")),
        (request("/cors", "PUT"), (405, "method", "PUT", "/cors")),
        (request("/cors", "OPTIONS", PREFLIGHT), (204, "preflight", "OPTIONS", "/cors")),
        (request("/f", "OPTIONS"), (204, "options", "OPTIONS", "/f")),
        (request("/keys"), (401, "key", "GET", "/keys")),
        (request("/files/a.txt"), (200, "files", "GET", "/files/a.txt")),
        (request("/files/none"), (404, "no_file", "GET", "/files/none")),
        (request("/files"), (308, "files", "GET", "/files")),
        (request("/files/a.txt", headers="Range: bytes=9-\r\n"), (416, "range", "GET", "/files/a.txt")),
        (b"BREW\r\n\r\n", (400, "malformed", "", "")),
        (b"GET /f HTTP/1.1\r\nHo", (408, "slow", "GET", "/f")),
        (request("/f", headers=f"X: {'x' * 9000}\r\n"), (431, "too_long", "GET", "/f")),
    ],
)
async def test_every_request_is_recorded_once(tmp_path: Path, sent: bytes, expected: tuple[int, str, str, str]) -> None:
    async with recorded(tmp_path) as house, house.connect() as client:
        client.writer.write(sent)
        answer = await client.reply()
        assert answer.status == expected[0]
        [verdict] = house.record
        assert summary(verdict) == expected
        assert verdict.client == "127.0.0.1"
        assert len(house.log) == len(house.functions.events)
        assert all(outcome is not None for _, outcome, _ in house.log)
        assert verdict.id
        assert answer["x-forklight-id"] == verdict.id.replace("\x1b", "%1B").replace("\n", "%0A")


@pytest.mark.parametrize(
    "sent",
    [
        request(
            "/f?a=1", headers="Cookie: a=1\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n"
        ),
        request("/f", "HEAD"),
        request("/f", "POST", "Content-Encoding: gzip\r\n", body=b"x"),
        request("/f", "POST", body=b"fail"),
        request("/f", "POST", CLOUD_EVENT, b"x"),
        request("http://other/f"),
        request("/f", headers="X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: b\r\n"),
        request("/cors", headers="Origin: https://a.example\r\n"),
        request("/cors", "OPTIONS", PREFLIGHT),
        request("/keys"),
        request("/none"),
        request("/files/a.txt"),
    ],
)
async def test_a_request_that_comes_again_is_served_as_if_it_were_new(tmp_path: Path, sent: bytes) -> None:
    method = sent.split(b" ")[0].decode()

    async def ask(client: Client) -> tuple[object, ...]:
        client.writer.write(sent)
        answer = await client.reply(method)
        seen = [replace(event, id="", time="", fixed=b"") for event, _, _ in house.log[-1:]]
        names = {"x-forklight-id", "server-timing", "date"}
        headers = [pair for pair in answer.headers if pair[0] not in names]
        return answer.status, headers, answer.body.replace(answer["x-forklight-id"].encode(), b""), seen

    async with recorded(tmp_path, trusted_proxies=("127.0.0.0/8",)) as house, house.connect() as client:
        again = [await ask(client) for _ in range(4)]
        async with house.connect() as other:
            assert again == [await ask(other)] * 4
        assert len({verdict.id for verdict in house.record}) == (1 if b"ce-id" in sent else 5)
        assert len({replace(verdict, id="", began_ns=0, detail="") for verdict in house.record}) == 1


async def test_each_request_of_a_connection_is_recorded(tmp_path: Path) -> None:
    async with recorded(tmp_path) as house, house.connect() as client:
        client.writer.write(request("/f") + request("/none") + request("/f", headers="Connection: close\r\n"))
        ids = [answer["x-forklight-id"] for answer in await client.replies()]
        assert [verdict.status for verdict in house.record] == [200, 404, 200]
        assert [verdict.id for verdict in house.record] == ids
        assert len(set(ids)) == 3


async def test_a_connection_without_a_request_is_not_recorded(tmp_path: Path) -> None:
    async with recorded(tmp_path) as house:
        await house.talk(b"")
        await house.talk(request("/f", headers="Connection: close\r\n"))
        assert [verdict.status for verdict in house.record] == [200]


@pytest.mark.parametrize(
    ("sent", "is_event"),
    [(request("/f", "POST", body=b"wait"), True), (request("/f", "POST", "Content-Length: 9\r\n"), False)],
)
async def test_a_client_that_leaves_is_recorded(tmp_path: Path, sent: bytes, is_event: bool) -> None:
    async with recorded(tmp_path, body_timeout_s=30.0) as house:
        async with house.connect() as client:
            client.writer.write(sent)
            await _taken(house, client, is_event)
        await house.logged.wait()
        [verdict] = house.record
        assert summary(verdict) == (499, "left", "POST", "/f")
        assert [outcome for _, outcome, _ in house.log] == [None] * is_event


async def _taken(house: Running, client: Client, is_event: bool) -> None:
    """Wait until the server has read the request."""
    if is_event:
        await house.functions.called.wait()
    else:
        await client.writer.drain()
        await house.talk(request("/none", headers="Connection: close\r\n"))
        house.record.clear()
        house.logged.clear()


async def test_a_drain_that_cannot_wait_is_recorded(tmp_path: Path) -> None:
    async with recorded(tmp_path) as house, house.connect() as client:
        client.writer.write(request("/f", "POST", body=b"wait"))
        await house.functions.called.wait()
        draining = asyncio.create_task(house.server.drain(0))
        answer = await client.reply()
        await draining
        [verdict] = house.record
        assert summary(verdict) == (503, "stopping", "POST", "/f")
        assert (answer.status, answer["x-forklight-id"]) == (503, verdict.id)


async def test_a_connection_too_many_is_recorded(tmp_path: Path) -> None:
    async with recorded(tmp_path, max_connections=1) as house, house.connect() as first:
        first.writer.write(request("/f"))
        await first.reply()
        [answer] = await house.talk(b"")
        verdict = house.record[-1]
        assert summary(verdict) == (503, "connections", "", "")
        assert (answer.status, answer["x-forklight-id"]) == (503, verdict.id)


async def test_an_internal_error_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with recorded(tmp_path) as house:
        monkeypatch.setattr(house.server, "routes", None)
        [answer] = await house.talk(request("/f"))
        [verdict] = house.record
        assert summary(verdict) == (500, "broken", "GET", "/f")
        assert (answer.status, answer["x-forklight-id"]) == (500, verdict.id)


@pytest.mark.parametrize("sent", [request("/f"), request("/none"), request("/files/a.txt"), b"BREW\r\n\r\n"])
async def test_own_headers_can_be_switched_off(tmp_path: Path, sent: bytes) -> None:
    async with recorded(tmp_path, own_headers=False) as house, house.connect() as client:
        house.server.stale = "broken"
        client.writer.write(sent)
        answer = await client.reply()
        assert [name for name, _ in answer.headers if name in (*OURS, "x-forklight-stale")] == []
        assert house.record[0].id
