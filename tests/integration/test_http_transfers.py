"""Long and slow transfers, half-closed clients, and the memory of all connections together."""

import asyncio
import logging
import socket
import time
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any

import pytest

from bus.event import Event
from bus.outcome import Ok, Outcome
from tests.kit.http_process import http_process
from tests.kit.http_server import LAST, Client, Running, request, running
from triggers.http import HttpSettings, Route

pytestmark = pytest.mark.any_user

MIB = 1024 * 1024
LARGE = (Route(function="f", path="/f", max_body_bytes=64 * MIB),)
UPLOAD = "Content-Length: 10000\r\n"


def settings(**given: Any) -> HttpSettings:
    return HttpSettings(listen="127.0.0.1:0", **given)


async def six_mib(event: Event) -> Outcome:
    return Ok(body=bytes(6 * MIB))


async def never(event: Event) -> Outcome:
    await asyncio.Event().wait()
    raise AssertionError


async def stalled(house: Running, stack: AsyncExitStack, sent: bytes) -> socket.socket:
    """A client that does not read its answer."""
    client = stack.enter_context(socket.socket())
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(client, ("127.0.0.1", house.server.port))
    await loop.sock_sendall(client, sent)
    return client


async def test_a_refused_upload_may_go_on_until_its_client_reads_the_answer() -> None:
    async with running() as house, house.connect() as client:
        client.writer.write(request("/small", "POST", f"Content-Length: {100 * MIB}\r\n"))
        for _ in range(40):
            client.writer.write(bytes(64 * 1024))
            await client.writer.drain()
            await asyncio.sleep(0.1)
        assert [answer.status for answer in await client.replies()] == [413]


async def test_a_body_that_makes_progress_may_last_longer_than_its_timeout() -> None:
    async with running(settings=settings(body_timeout_s=0.6)) as house, house.connect() as client:
        client.writer.write(request(method="POST", headers=UPLOAD))
        for _ in range(10):
            client.writer.write(bytes(1000))
            await asyncio.sleep(0.15)
        assert (await client.reply()).status == 200


async def test_a_body_that_drips_is_too_slow() -> None:
    limits = settings(body_timeout_s=0.3, min_rate_bytes=1000)
    async with running(settings=limits) as house, house.connect() as client:
        client.writer.write(request(method="POST", headers=UPLOAD))
        answer = asyncio.create_task(client.reply())
        dripped = 0
        while not answer.done():
            client.writer.write(b"x")
            dripped += 1
            await asyncio.sleep(0.02)
        assert (await answer).status == 408
        assert dripped < 10_000
        assert house.functions.events == []


async def test_a_client_that_keeps_reading_may_take_longer_than_the_timeout() -> None:
    async with running(six_mib, settings=settings(write_timeout_s=1.0)) as house, AsyncExitStack() as stack:
        client = await stalled(house, stack, LAST)
        loop, taken, began = asyncio.get_running_loop(), 0, time.monotonic()
        while piece := await loop.sock_recv(client, 128 * 1024):
            taken += len(piece)
            if time.monotonic() - began < 2.5:
                await asyncio.sleep(0.2)
        assert taken > 6 * MIB


async def test_a_client_that_reads_too_slowly_is_cut_off() -> None:
    limits = settings(write_timeout_s=0.5, min_rate_bytes=MIB)
    async with running(six_mib, settings=limits) as house, AsyncExitStack() as stack:
        client = await stalled(house, stack, LAST)

        async def drip() -> None:
            while True:
                await asyncio.get_running_loop().sock_recv(client, 1000)
                await asyncio.sleep(0.05)

        with pytest.raises(ConnectionResetError):
            await drip()


@pytest.mark.parametrize("sent", [LAST, request() + request(method="POST", body=b"2")])
async def test_a_half_closed_client_is_answered(sent: bytes) -> None:
    ended = asyncio.Event()

    async def handle(event: Event) -> Outcome:
        await ended.wait()
        return Ok(body=event.body)

    async with running(handle) as house, house.connect() as client:
        client.writer.write(sent)
        client.writer.write_eof()
        await house.functions.called.wait()
        await asyncio.sleep(0.1)  # the EOF is read while the function runs, or before it
        ended.set()
        answers = await client.replies()
        assert [answer.status for answer in answers] == [200] * sent.count(b"HTTP/1.1")


async def test_a_half_closed_client_has_a_deadline() -> None:
    async with running(never, settings=settings(half_closed_timeout_s=0.2)) as house, house.connect() as client:
        client.writer.write(request())
        client.writer.write_eof()
        await house.logged.wait()
        assert [status for _, _, status in house.log] == [499]


async def test_on_a_unix_socket_a_client_that_left_is_noticed(tmp_path: Path) -> None:
    limits = HttpSettings(listen=f"unix:{tmp_path}/s", half_closed_timeout_s=3600)
    async with running(never, settings=limits) as house:
        _, writer = await asyncio.open_unix_connection(tmp_path / "s")
        writer.write(request())
        await house.functions.called.wait()
        writer.close()
        await house.logged.wait()
        assert [status for _, _, status in house.log] == [499]


async def test_one_connection_too_many_reads_its_503_whatever_it_sends() -> None:
    async with running(settings=settings(max_connections=1)) as house, house.connect() as first:
        first.writer.write(request())
        assert (await first.reply()).status == 200
        async with house.connect() as refused:
            refused.writer.write(request(method="POST", body=bytes(200_000)))
            assert [answer.status for answer in await refused.replies()] == [503]


async def test_far_too_many_connections_all_get_a_503_and_end() -> None:
    async with running(settings=settings(max_connections=1)) as house, AsyncExitStack() as stack:
        await stack.enter_async_context(house.connect())
        clients = [await stack.enter_async_context(house.connect()) for _ in range(200)]
        for client in reversed(clients):
            assert [answer.status for answer in await client.replies()] == [503]
            client.writer.close()
        assert house.server.connections == 1
        assert {verdict.reason for verdict in house.record} == {"connections"}


async def test_unread_answers_are_bounded(caplog: pytest.LogCaptureFixture) -> None:
    limits = settings(max_unread_bytes=20 * MIB)
    async with running(six_mib, settings=limits) as house, AsyncExitStack() as stack:
        clients = [await stalled(house, stack, LAST) for _ in range(3)]
        while len(house.log) < 3:
            house.logged.clear()
            await house.logged.wait()
        for _ in range(2):
            [refused] = await house.talk(LAST)
            assert (refused.status, refused["retry-after"]) == (503, "1")
            assert b"max_unread" in refused.body
        assert [verdict.reason for verdict in house.record[3:]] == ["memory", "memory"]
        warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
        assert len(warnings) == 1
        assert "http.max_unread" in warnings[0]
        for client in clients:
            client.close()
        await house.server.wait_unconnected()
        assert [answer.status for answer in await house.talk(LAST)] == [200]


async def test_request_bodies_are_bounded() -> None:
    release = asyncio.Event()

    async def handle(event: Event) -> Outcome:
        await release.wait()
        return Ok()

    sent = request("/f", "POST", "Connection: close\r\n", bytes(800_000))
    async with running(handle, LARGE, settings(max_bodies_bytes=MIB)) as house, house.connect() as first:
        first.writer.write(sent)
        await house.functions.called.wait()
        [refused] = await house.talk(sent)
        assert (refused.status, refused["retry-after"]) == (503, "1")
        assert b"max_bodies" in refused.body
        small = asyncio.create_task(house.talk(request("/f", "POST", "Connection: close\r\n", b"x" * 1000)))
        release.set()
        assert [answer.status for answer in await small] == [200], "small bodies are not counted"
        assert [answer.status for answer in await first.replies()] == [200]
        assert [answer.status for answer in await house.talk(sent)] == [200]
        alone = request("/f", "POST", "Connection: close\r\n", bytes(3 * MIB))
        assert [answer.status for answer in await house.talk(alone)] == [200]


def test_the_memory_of_many_clients_that_do_not_read_is_bounded(tmp_path: Path) -> None:
    with (
        http_process(tmp_path / "s", max_unread_bytes=16 * MIB, max_bodies_bytes=16 * MIB) as server,
        ExitStack() as stack,
    ):
        before = server.resident_bytes()
        clients = []
        for _ in range(40):
            client = stack.enter_context(server.connect("tcp"))
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.sendall(request("/large", "POST", body=bytes(8 * MIB)))
            clients.append(client)
        assert all(client.recv(9) == b"HTTP/1.1 " for client in clients)
        assert {client.recv(3) for client in clients} == {b"200", b"503"}
        assert server.resident_bytes() - before < 150 * MIB


async def test_an_idle_timeout_longer_than_those_of_proxies() -> None:
    assert HttpSettings().idle_timeout_s > 60


async def test_a_client_reads_until_the_server_is_done(tmp_path: Path) -> None:
    """A refused upload is not reset, over a unix socket either."""
    async with running(settings=HttpSettings(listen=f"unix:{tmp_path}/s")):
        reader, writer = await asyncio.open_unix_connection(tmp_path / "s")
        writer.write(request("/small", "POST", "Content-Length: 1000000\r\n"))
        client = Client(reader, writer)
        assert (await client.reply()).status == 413
        for _ in range(10):
            writer.write(bytes(100_000))
            await writer.drain()
        assert await client.replies() == []
        writer.close()
