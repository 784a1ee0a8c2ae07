"""CORS: preflights, and the headers of every answer."""

import asyncio
from typing import Any

import pytest

from bus.event import Event
from bus.outcome import ExceptionName, Failed, Ok, Outcome
from tests.kit.http_server import Reply, Running, request, running
from triggers.http import Cors, Route

pytestmark = pytest.mark.any_user

APP, OTHER = "https://app.example", "https://other.example"


async def answering(event: Event) -> Outcome:
    if event.body == b"fail":
        return Failed(kind="error", code=ExceptionName("ValueError"), message="no")
    return Ok(body=b"ok", headers=(("Access-Control-Allow-Origin", "https://evil.example"), ("vary", "accept")))


async def waiting(event: Event) -> Outcome:
    await asyncio.Event().wait()
    return Ok()


def routes(**cors: Any) -> tuple[Route, ...]:
    return (
        Route(function="f", path="/x", methods=("GET", "POST"), cors=Cors(**cors), max_body_bytes=10),
        Route(function="f", path="/x", methods=("DELETE",)),
        Route(function="f", path="/own", methods=("OPTIONS", "GET"), cors=Cors(**cors)),
    )


async def ask(house: Running, method: str, origin: str | None, *, target: str = "/x", **more: Any) -> Reply:
    headers = f"Origin: {origin}\r\n" if origin else ""
    async with house.connect() as client:
        client.writer.write(request(target, method, headers + more.get("headers", ""), more.get("body", b"")))
        return await client.reply(method)


def asked(method: str, names: str = "") -> str:
    wanted = f"Access-Control-Request-Headers: {names}\r\n" if names else ""
    return f"Access-Control-Request-Method: {method}\r\n{wanted}"


def said(reply: Reply) -> dict[str, str]:
    return {name: text for name, text in reply.headers if name.startswith("access-control-") or name == "vary"}


async def test_any_origin() -> None:
    async with running(answering, routes(origins=("*",))) as house:
        reply = await ask(house, "OPTIONS", APP, headers=asked("POST", "content-type, x-a"))
        assert (reply.status, reply.body) == (204, b"")
        assert said(reply) == {
            "access-control-allow-origin": "*",
            "access-control-allow-methods": "GET, POST",
            "access-control-allow-headers": "content-type, x-a",
            "access-control-max-age": "600",
            "vary": "access-control-request-headers",
        }
        for origin in (APP, None):
            assert said(await ask(house, "GET", origin)) == {"access-control-allow-origin": "*", "vary": "accept"}
        assert len(house.functions.events) == 2


async def test_named_origins_with_everything() -> None:
    every = routes(
        origins=(APP, "https://b.example"),
        methods=("GET",),
        headers=("x-a", "x-b"),
        expose=("x-c",),
        credentials=True,
        max_age_s=5,
    )
    async with running(answering, every) as house:
        assert said(await ask(house, "OPTIONS", APP, headers=asked("GET"))) == {
            "access-control-allow-origin": APP,
            "access-control-allow-credentials": "true",
            "access-control-allow-methods": "GET",
            "access-control-allow-headers": "x-a, x-b",
            "access-control-max-age": "5",
            "vary": "origin",
        }
        assert said(await ask(house, "OPTIONS", OTHER, headers=asked("GET"))) == {"vary": "origin"}
        reply = await ask(house, "GET", APP)
        assert ("vary", "origin") in reply.headers
        assert said(reply) == {
            "access-control-allow-origin": APP,
            "access-control-allow-credentials": "true",
            "access-control-expose-headers": "x-c",
            "vary": "origin",
        }
        for origin in (OTHER, None, "null", APP + ".evil"):
            assert said(await ask(house, "GET", origin)) == {"vary": "origin"}


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [(b"fail", "", 500), (b"x" * 11, "", 413), (b"", "Expect: 100-continue\r\nContent-Length: 11\r\n", 413)],
)
async def test_errors_have_cors_headers(body: bytes, headers: str, status: int) -> None:
    async with running(answering, routes(origins=(APP,))) as house:
        reply = await ask(house, "POST", APP, body=body, headers=headers)
        assert (reply.status, reply["access-control-allow-origin"], reply["vary"]) == (status, APP, "origin")


async def test_a_405_has_cors_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(answering, routes(origins=(APP,))) as house:
        reply = await ask(house, "PUT", APP)
        assert (reply.status, reply["allow"]) == (405, "DELETE, GET, HEAD, OPTIONS, POST")
        assert (reply["access-control-allow-origin"], reply["vary"]) == (APP, "origin")
        assert said(await ask(house, "PUT", OTHER)) == {"vary": "origin"}
        assert said(await ask(house, "PUT", APP, target="/none")) == {}


async def test_a_500_and_the_503_of_a_drain_have_cors_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(waiting, routes(origins=(APP,))) as house, house.connect() as client:
        with monkeypatch.context() as broken:
            broken.setattr("triggers.http.codec.HttpSection", None)
            reply = await ask(house, "GET", APP)
            assert (reply.status, reply["access-control-allow-origin"]) == (500, APP)
        client.writer.write(request("/x", headers=f"Origin: {APP}\r\n"))
        await house.functions.called.wait()
        draining = asyncio.create_task(house.server.drain(0))
        reply = await client.reply()
        await draining
        assert (reply.status, reply["access-control-allow-origin"], reply["vary"]) == (503, APP, "origin")


async def test_other_options_requests_are_not_preflights() -> None:
    async with running(answering, routes(origins=("*",))) as house:
        reply = await ask(house, "OPTIONS", APP)
        assert (reply.status, reply["allow"], said(reply)) == (204, "DELETE, GET, HEAD, OPTIONS, POST", {})
        assert said(await ask(house, "OPTIONS", APP, headers=asked("DELETE"))) == {}
        assert said(await ask(house, "OPTIONS", None, headers=asked("GET"))) == {}
        assert (await ask(house, "OPTIONS", APP, target="/none", headers=asked("GET"))).status == 404
        assert house.functions.events == []


async def test_a_route_that_takes_options_gets_all_but_preflights() -> None:
    async with running(answering, routes(origins=("*",))) as house:
        assert (await ask(house, "OPTIONS", APP, target="/own", headers=asked("GET"))).status == 204
        assert house.functions.events == []
        assert (await ask(house, "OPTIONS", APP, target="/own")).body == b"ok"
