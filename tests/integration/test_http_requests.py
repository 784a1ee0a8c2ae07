"""Well-behaved clients: routes, bodies, outcomes, pipelining, keep-alive."""

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Never

import aiohttp
import pytest
from aiohttp import http_parser

from bus.event import Event
from bus.outcome import ExceptionName, Failed, Ok, Outcome, Timings
from tests.kit.http_server import LAST, Client, echo, request, running
from triggers.http import HttpSettings, ListenError, ParserError, Route, RouteTable
from triggers.http.server import HttpServer

pytestmark = pytest.mark.any_user


async def test_a_request_and_its_answer() -> None:
    async def greet(event: Event) -> Outcome:
        assert event.http is not None
        return Ok(
            body=f"hello {event.http.params['name']}".encode(),
            content_type="text/plain",
            headers=(("set-cookie", "a=1"), ("set-cookie", "b=2")),
            start="warm",
            timings=Timings(1_000_000, 1_100_000, 1_200_000, 2_000_000),
        )

    async with running(greet, (Route(function="greet", path="/greet/{name}"),)) as house:
        async with aiohttp.ClientSession() as client, client.get(house.url + "/greet/ada?x=1") as answer:
            assert await answer.text() == "hello ada"
            assert answer.status == 200
            assert answer.headers.getall("set-cookie") == ["a=1", "b=2"]
            assert answer.headers["X-Forklight-Start"] == "warm"
            assert answer.headers["Server-Timing"] == "queue;dur=0.100, start;dur=0.100, run;dur=0.800"
            assert answer.headers["Server"] == "forklight"
            assert answer.headers["Date"].endswith("GMT")
        [(event, outcome, status)] = house.log
        assert event is house.functions.events[0]
        assert isinstance(outcome, Ok)
        assert status == 200
        assert event.http is not None
        assert event.http.remote == "127.0.0.1"


@pytest.mark.parametrize("size", [0, 1, 70_000, 1024 * 1024])
async def test_bodies_are_passed_unchanged(size: int) -> None:
    body = bytes(i % 251 for i in range(size))
    async with running() as house, aiohttp.ClientSession() as client:
        async with client.post(house.url + "/echo", data=body) as answer:
            assert await answer.read() == body

        async def parts() -> AsyncIterator[bytes]:
            for start in range(0, size, 10_000):
                yield body[start : start + 10_000]

        async with client.post(house.url + "/echo", data=parts()) as answer:
            assert await answer.read() == body


async def test_a_body_in_many_reads_is_served_without_the_task_of_its_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(HttpServer, "_errand")  # what the task would carry out
    body = bytes(i % 251 for i in range(300_000))
    async with running() as house, house.connect() as client:
        for headers, expected in (("", b""), ("Expect: 100-continue\r\n", b"HTTP/1.1 100 Continue\r\n\r\n")):
            client.writer.write(request("/echo", "POST", f"Content-Length: {len(body)}\r\n{headers}"))
            assert await client.reader.readexactly(len(expected)) == expected
            for start in range(0, len(body), 100_000):
                for _ in range(20):
                    await asyncio.sleep(0)  # so that the server reads what has been written
                client.writer.write(body[start : start + 100_000])
            answer = await client.reply()
            assert (answer.status, answer.body) == (200, body)


async def test_a_compressed_body_is_passed_unchanged() -> None:
    async with running() as house:
        [answer] = await house.talk(
            request(method="POST", headers="Content-Encoding: gzip\r\nConnection: close\r\n", body=b"no gzip")
        )
        assert answer.body == b"no gzip"


async def test_unknown_path_wrong_method_head_and_options() -> None:
    async with running() as house:
        missing, wrong, options, everything, last = await house.talk(
            request("/missing")
            + request("/only-get", "POST")
            + request("/only-get", "OPTIONS")
            + request("*", "OPTIONS")
            + LAST
        )
        assert missing.status == 404
        assert missing["content-type"] == "application/problem+json"
        assert (wrong.status, wrong["allow"]) == (405, "GET, HEAD, OPTIONS")
        assert (options.status, options["allow"], options.body) == (204, "GET, HEAD, OPTIONS", b"")
        assert everything["allow"] == "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"
        assert last["connection"] == "close"
        assert len(house.functions.events) == 1


async def test_head_has_the_length_and_no_body() -> None:
    async def handle(event: Event) -> Outcome:
        return Ok(body=b"hello")

    async with running(handle) as house, house.connect() as client:
        client.writer.write(request(method="HEAD") + request())
        head, get = await client.reply("HEAD"), await client.reply()
        assert head["content-length"] == "5"
        assert get.body == b"hello"


async def test_an_answer_without_content_has_no_length() -> None:
    async def handle(event: Event) -> Outcome:
        return Ok(status=204, body=b"ignored")

    async with running(handle) as house:
        first, second = await house.talk(request() + LAST)
        assert first.status == second.status == 204
        assert "content-length" not in first


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (Failed(kind="error", code=ExceptionName("ValueError"), message="m"), 500),
        (Failed(kind="timeout", code="Timeout", message="m"), 504),
        (Failed(kind="throttled", code="QueueFull", message="m"), 429),
        (Failed(kind="unknown_function", code=ExceptionName(""), message="m"), 404),
    ],
)
async def test_failures_leave_the_connection_usable(outcome: Failed, status: int) -> None:
    async def fail(event: Event) -> Outcome:
        return outcome

    async with running(fail) as house:
        first, second = await house.talk(request() + LAST)
        assert first.status == second.status == status
        assert (b'"invocation_id":"%s"' % house.log[0][0].id.encode()) in first.body


async def test_an_exception_of_the_target_is_a_500(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(event: Event, done: object) -> Never:
        raise LookupError("oh")

    async with running() as house:
        monkeypatch.setattr(house.functions, "begin", broken)
        first, second = await house.talk(request() + LAST)
        assert first.status == second.status == 500
        outcome = house.log[0][1]
        assert isinstance(outcome, Failed)
        assert outcome.code == "LookupError"


async def test_pipelined_requests_are_answered_in_order() -> None:
    gates = [asyncio.Event() for _ in range(3)]

    async def handle(event: Event) -> Outcome:
        number = int(event.body)
        if number < len(gates):
            await gates[number].wait()
        return Ok(body=event.body)

    async with running(handle) as house, house.connect() as client:
        client.writer.write(b"".join(request(method="POST", body=str(i).encode()) for i in range(100)))
        for gate in reversed(gates):
            gate.set()
        assert [int((await client.reply()).body) for _ in range(100)] == list(range(100))


async def test_the_second_pipelined_request_waits_for_the_first() -> None:
    first, house_events = asyncio.Event(), []

    async def handle(event: Event) -> Outcome:
        house_events.append(event.body)
        await first.wait()
        return Ok(body=event.body)

    async with running(handle) as house, house.connect() as client:
        client.writer.write(request(method="POST", body=b"1") + request(method="POST", body=b"2"))
        await house.functions.called.wait()
        async with house.connect() as other:
            other.writer.write(request("/missing"))
            assert (await other.reply()).status == 404
        assert house_events == [b"1"]
        first.set()
        assert [(await client.reply()).body, (await client.reply()).body] == [b"1", b"2"]


async def test_http10_closes_unless_asked_to_stay() -> None:
    async with running() as house:
        [answer] = await house.talk(b"GET /echo HTTP/1.0\r\n\r\n" + request())
        assert answer["connection"] == "close"
        kept, last = await house.talk(b"GET /echo HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + LAST)
        assert kept["connection"] == "keep-alive"
        assert last["connection"] == "close"


@pytest.mark.parametrize(
    "value", ["close, keep-alive", "keep-alive\r\nConnection: close", "Close\r\nConnection: keep-alive"]
)
@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_close_counts_in_any_connection_header(version: str, value: str) -> None:
    async with running() as house:
        first = f"GET /echo HTTP/{version}\r\nHost: here\r\nConnection: {value}\r\n\r\n".encode()
        [answer] = await house.talk(first + request())
        assert answer["connection"] == "close"


async def test_a_chunked_request_is_the_last_of_its_connection() -> None:
    """The parser would read its trailer as headers of the next request."""
    chunked = request(method="POST", headers="Transfer-Encoding: chunked\r\n") + b"2\r\nhi\r\n0\r\nX-Evil: 1\r\n\r\n"
    async with running() as house:
        [answer] = await house.talk(chunked + request())
        assert (answer.body, answer["connection"]) == (b"hi", "close")
        [event] = house.functions.events
        assert event.http is not None
        assert "x-evil" not in event.http.headers


@pytest.mark.parametrize("rest", [b"1\r\nx\r\n" * 30_000 + b"0\r\n\r\n", b"1\r\nx\r\n" * 30_000])
@pytest.mark.parametrize("ends", [True, False])
async def test_a_body_in_the_smallest_chunks(rest: bytes, ends: bool) -> None:
    """The body is parsed in several turns, completely, even if the client has half-closed meanwhile."""
    async with running() as house, house.connect() as client:
        client.writer.write(request(method="POST", headers="Transfer-Encoding: chunked\r\n") + rest)
        if ends:
            client.writer.write_eof()
        if rest.endswith(b"0\r\n\r\n"):
            assert (await client.reply()).body == b"x" * 30_000
        elif ends:
            assert await client.replies() == []
        else:
            await client.writer.drain()
            client.writer.write(b"0\r\n\r\n")
            assert (await client.reply()).body == b"x" * 30_000


async def test_routes_are_replaced_in_one_assignment_while_a_call_runs() -> None:
    release = asyncio.Event()

    async def handle(event: Event) -> Outcome:
        if event.function == "old":
            await release.wait()
        return Ok(body=(event.function or "").encode())

    async with running(handle, (Route(function="old", path="/x"),)) as house, house.connect() as client:
        for _ in range(3):  # so that the server keeps what it has found out about this head
            release.set()
            client.writer.write(request("/x"))
            assert (await client.reply()).body == b"old"
        release.clear()
        house.functions.called.clear()
        client.writer.write(request("/x"))
        await house.functions.called.wait()
        house.server.routes = RouteTable([Route(function="new", path="/x")])
        client.writer.write(request("/x"))
        release.set()
        assert [(await client.reply()).body, (await client.reply()).body] == [b"old", b"new"]


async def test_a_route_may_wait_less_than_its_function() -> None:
    async def handle(event: Event) -> Outcome:
        await asyncio.Event().wait()
        raise AssertionError

    async with running(handle, (Route(function="slow", path="/x", timeout_s=0.05),)) as house:
        first, second = await house.talk(request("/x") + request("/x", headers="Connection: close\r\n"))
        assert first.status == second.status == 504
        assert len(house.functions.withdrawn) == 2
        assert [status for _, _, status in house.log] == [504, 504]


async def test_a_client_that_leaves_withdraws_its_event() -> None:
    async def handle(event: Event) -> Outcome:
        await asyncio.Event().wait()
        raise AssertionError

    at_once = HttpSettings(listen="127.0.0.1:0", half_closed_timeout_s=0)
    async with running(handle, settings=at_once) as house:
        async with house.connect() as client:
            client.writer.write(request())
            await house.functions.called.wait()
        await house.logged.wait()
        assert house.functions.withdrawn == house.functions.events
        assert [(outcome, status) for _, outcome, status in house.log] == [(None, 499)]


async def test_a_given_unix_socket(tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "s"))
    listener.listen()
    async with running(given=listener) as house:
        assert house.server.port == 0
        reader, writer = await asyncio.open_unix_connection(tmp_path / "s")
        writer.write(LAST)
        [answer] = await Client(reader, writer).replies()
        assert answer.status == 200
        event = house.functions.events[0]
        assert event.http is not None
        assert event.http.remote == ""
        writer.close()


async def test_an_address_in_use_is_one_line_that_says_what_to_do() -> None:
    async with running() as house:
        settings = HttpSettings(listen=f"127.0.0.1:{house.server.port}")
        with pytest.raises(ListenError, match=r"^cannot listen on 127\.0\.0\.1:[0-9]+: the address is in use; stop"):
            async with running(settings=settings):
                pass


async def test_the_pure_python_parser_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_parser, "HttpRequestParser", http_parser.HttpRequestParserPy)
    with pytest.raises(ParserError, match="AIOHTTP_NO_EXTENSIONS"):
        async with running(echo):
            pass


async def test_dev_shows_tracebacks() -> None:
    async def fail(event: Event) -> Outcome:
        return Failed(kind="error", code=ExceptionName("ValueError"), message="m", traceback="line 1")

    async with running(fail, dev=True) as house:
        [answer] = await house.talk(LAST)
        assert b'"traceback":"line 1"' in answer.body


async def test_dev_hints_at_json_sent_as_a_form() -> None:
    async def fail(event: Event) -> Outcome:
        return Failed(kind="error", code=ExceptionName("KeyError"), message="m")

    request = (
        b"POST /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 2\r\n"
        b"Content-Type: application/x-www-form-urlencoded\r\n\r\n{}"
    )
    async with running(fail, dev=True) as house:
        [answer] = await house.talk(request)
        assert b'"hint":"the body looks like JSON' in answer.body
