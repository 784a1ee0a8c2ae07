"""Slow, greedy and hostile clients: every deadline and every limit."""

import asyncio
import resource
import socket
from contextlib import AsyncExitStack

import pytest

from bus.event import Event
from bus.outcome import Ok, Outcome
from tests.kit.http_server import LAST, request, running
from triggers.http import HttpSettings

pytestmark = pytest.mark.any_user

EXPECT = "Expect: 100-continue\r\n"
CHUNKED = "Transfer-Encoding: chunked\r\n"


def settings(**given: float) -> HttpSettings:
    return HttpSettings(listen="127.0.0.1:0", **given)  # type: ignore[arg-type]


async def test_slow_headers_end_with_408_even_when_they_drip() -> None:
    async with running(settings=settings(header_timeout_s=0.2)) as house, house.connect() as client:

        async def drip() -> None:
            client.writer.write(b"GET /echo HTTP/1.1\r\nHost: here\r\n")
            while True:
                client.writer.write(b"X-A: b\r\n")
                await asyncio.sleep(0.02)

        dripping = asyncio.create_task(drip())
        [answer] = await client.replies()
        dripping.cancel()
        assert answer.status == 408
        assert house.functions.events == []


async def test_a_connection_without_a_request_is_closed_without_an_answer() -> None:
    async with running(settings=settings(header_timeout_s=0.1)) as house:
        assert await house.talk(b"") == []


async def test_an_idle_connection_is_closed_without_an_answer() -> None:
    async with running(settings=settings(idle_timeout_s=0.1)) as house:
        assert [answer.status for answer in await house.talk(request())] == [200]


async def test_the_second_request_of_a_connection_has_a_header_deadline_too() -> None:
    async with running(settings=settings(header_timeout_s=0.2)) as house, house.connect() as client:
        client.writer.write(request())
        assert (await client.reply()).status == 200
        client.writer.write(b"GET /echo")
        assert [answer.status for answer in await client.replies()] == [408]


@pytest.mark.parametrize("start", [b"", b"x"])
async def test_a_slow_body_ends_with_408_and_never_runs(start: bytes) -> None:
    async with running(settings=settings(body_timeout_s=0.2)) as house:
        [answer] = await house.talk(request(method="POST", headers="Content-Length: 5\r\n") + start)
        assert (answer.status, answer["connection"]) == (408, "close")
        assert house.functions.events == []


async def test_a_slow_chunked_body_ends_with_408() -> None:
    async with running(settings=settings(body_timeout_s=0.2)) as house:
        [answer] = await house.talk(request(method="POST", headers=CHUNKED) + b"1\r\nx\r\n")
        assert answer.status == 408


async def test_a_running_call_has_no_deadline_here() -> None:
    release = asyncio.Event()

    async def handle(event: Event) -> Outcome:
        await release.wait()
        return Ok()

    short = settings(header_timeout_s=0.05, body_timeout_s=0.05, idle_timeout_s=0.05, write_timeout_s=0.05)
    async with running(handle, settings=short) as house, house.connect() as busy:
        busy.writer.write(LAST)
        await house.functions.called.wait()
        # Another connection is closed as idle meanwhile, so the sweep has run.
        assert await house.talk(b"") == []
        release.set()
        assert (await busy.reply()).status == 200


@pytest.mark.parametrize("closing", [False, True])
async def test_a_client_that_does_not_read_is_cut_off(closing: bool) -> None:
    async def handle(event: Event) -> Outcome:
        return Ok(body=bytes(6 * 1024 * 1024))

    async with running(handle, settings=settings(write_timeout_s=0.3, idle_timeout_s=0.3)) as house:
        reader = socket.create_connection(("127.0.0.1", house.server.port))
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(reader, LAST if closing else request())
        await house.functions.called.wait()
        await house.server.wait_unconnected()
        with pytest.raises(ConnectionResetError):
            await read_to_end(reader)
        reader.close()


async def read_to_end(reader: socket.socket) -> None:
    while await asyncio.get_running_loop().sock_recv(reader, 65536):
        pass


async def test_a_slow_reader_that_reads_gets_everything() -> None:
    body = bytes(2 * 1024 * 1024)

    async def handle(event: Event) -> Outcome:
        return Ok(body=body)

    async with running(handle) as house:
        first, second = await house.talk(request() + LAST)
        assert first.body == second.body == body


async def test_a_body_over_the_limit_is_refused_before_it_is_sent() -> None:
    async with running() as house:
        [answer] = await house.talk(request("/small", "POST", EXPECT + "Content-Length: 17\r\n"))
        assert (answer.status, answer["connection"]) == (413, "close")
        assert house.functions.events == []


async def test_a_chunked_body_is_refused_as_soon_as_it_is_over_the_limit() -> None:
    async with running() as house:
        [answer] = await house.talk(request("/small", "POST", CHUNKED) + b"11\r\n" + b"x" * 17 + b"\r\n")
        assert answer.status == 413
        [answer] = await house.talk(
            request("/small", "POST", CHUNKED) + b"11\r\n" + b"x" * 17 + b"\r\n0\r\n\r\n" + LAST
        )
        assert answer.status == 413
        assert house.functions.events == []


async def test_the_limit_itself_is_allowed() -> None:
    async with running() as house:
        answers = await house.talk(request("/small", "POST", body=b"x" * 16) + LAST)
        assert [answer.status for answer in answers] == [200, 200]


async def test_expect_100_continue() -> None:
    async with running() as house, house.connect() as client:
        client.writer.write(request("/small", "POST", EXPECT + "Content-Length: 2\r\n"))
        assert (await client.reply()).status == 100
        client.writer.write(b"hi" + LAST)
        assert [answer.body for answer in await client.replies()] == [b"hi", b""]


async def test_a_body_that_has_arrived_needs_no_100() -> None:
    async with running() as house:
        answers = await house.talk(request("/small", "POST", EXPECT, b"hi") + LAST)
        assert [answer.status for answer in answers] == [200, 200]


async def test_an_unread_body_closes_the_connection() -> None:
    async with running() as house:
        [answer] = await house.talk(request("/missing", "POST", "Content-Length: 5\r\n"))
        assert (answer.status, answer["connection"]) == (404, "close")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (request("/echo?" + "x" * 300), 414),
        (request(headers="X-A: " + "x" * 300 + "\r\n"), 431),
        (request(headers="X-" + "a" * 300 + ": x\r\n"), 431),
        (request(headers="X-A: b\r\n" * 10), 431),
    ],
)
async def test_line_field_and_count_limits(data: bytes, status: int) -> None:
    limits = HttpSettings(listen="127.0.0.1:0", max_line_bytes=256, max_field_bytes=256, max_headers=8)
    async with running(settings=limits) as house:
        assert [answer.status for answer in await house.talk(data + LAST)] == [status]
        assert house.functions.events == []


async def test_endless_headers_are_refused() -> None:
    async with running(settings=settings(max_head_bytes=2000, max_headers=100_000)) as house, house.connect() as client:
        client.writer.write(b"GET /echo HTTP/1.1\r\nHost: here\r\n")
        for _ in range(100):
            client.writer.write(b"X-A: " + b"b" * 93 + b"\r\n")
            await client.writer.drain()
        assert [answer.status for answer in await client.replies()] == [431]


async def test_one_connection_too_many_gets_a_503() -> None:
    async with running(settings=settings(max_connections=1)) as house, house.connect() as client:
        client.writer.write(request())
        assert (await client.reply()).status == 200
        async with house.connect() as refused:
            [answer] = await refused.replies()
            assert (answer.status, answer["retry-after"]) == (503, "1")
        client.writer.write(LAST)
        assert [answer.status for answer in await client.replies()] == [200]
        await house.server.wait_unconnected()
        assert [answer.status for answer in await house.talk(LAST)] == [200]


async def test_two_thousand_idle_connections_hold_nothing_up() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 8192)), hard))
    async with running(settings=settings(header_timeout_s=60)) as house, AsyncExitStack() as open_ones:
        idle = [await open_ones.enter_async_context(house.connect()) for _ in range(2000)]
        for client in idle:
            client.writer.write(request())
        for client in idle:
            assert (await client.reply()).status == 200
        assert house.server.connections == 2000
        assert [answer.status for answer in await house.talk(LAST)] == [200]
        await house.server.drain(5)
        for client in idle:
            assert await client.replies() == []
        assert house.server.connections == 0
