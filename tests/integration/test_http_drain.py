"""Draining: within the limit no accepted request is dropped; after it nothing holds the server up."""

import asyncio
from contextlib import AsyncExitStack

import pytest
from anyio.lowlevel import checkpoint

from bus.event import Event
from bus.outcome import Ok, Outcome
from tests.kit.http_server import request, running

pytestmark = pytest.mark.any_user


async def test_a_running_call_finishes_and_its_answer_is_the_last() -> None:
    release = asyncio.Event()

    async def handle(event: Event) -> Outcome:
        await release.wait()
        return Ok(body=b"done")

    async with running(handle) as house, house.connect() as busy:
        busy.writer.write(request() + request())
        await house.functions.called.wait()
        draining = asyncio.create_task(house.server.drain(30))
        await checkpoint()
        calling = "<HttpServer on 127.0.0.1:0, <Connections 1 open, 0 turned away, draining>>"
        assert repr(house.server) == calling
        release.set()
        answers = await busy.replies()
        assert [(answer.body, answer["connection"]) for answer in answers] == [(b"done", "close")]
        await draining
        assert house.server.connections == 0
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", house.server.port)


async def test_an_open_connection_may_send_a_last_request() -> None:
    async with running() as house, house.connect() as client:
        client.writer.write(request())
        assert (await client.reply()).status == 200
        draining = asyncio.create_task(house.server.drain(30))
        await checkpoint()
        client.writer.write(request())
        [answer] = await client.replies()
        assert (answer.status, answer["connection"]) == (200, "close")
        await draining


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_call_that_runs_too_long_is_withdrawn_with_a_503(method: str) -> None:
    async def handle(event: Event) -> Outcome:
        await asyncio.Event().wait()
        raise AssertionError

    async with running(handle) as house, house.connect() as busy, house.connect() as sending:
        busy.writer.write(request(method=method))
        sending.writer.write(b"POST /echo HTTP/1.1\r\nHost: here\r\nContent-Length: 5\r\n\r\n")
        await house.functions.called.wait()
        await house.server.drain(0.1)
        answer = await busy.reply(method)
        assert (answer.status, answer["connection"], await busy.reader.read()) == (503, "close", b"")
        assert house.functions.withdrawn == house.functions.events
        assert await sending.replies() == []
        assert [status for _, _, status in house.log] == [503]


async def test_leaving_without_drain_ends_every_call() -> None:
    async def handle(event: Event) -> Outcome:
        await asyncio.Event().wait()
        raise AssertionError

    async with AsyncExitStack() as client_closed_last:
        async with running(handle) as house:
            client = await client_closed_last.enter_async_context(house.connect())
            client.writer.write(request())
            await house.functions.called.wait()
        assert house.functions.withdrawn == house.functions.events
        assert [answer.status for answer in await client.replies()] == [503]


async def test_clients_with_keep_alive_see_no_error_during_a_drain() -> None:
    """Each client reuses only a connection that was not announced to close, as HTTP clients must."""
    async with running() as house:
        served = asyncio.Event()

        async def client() -> int:
            count = 0
            async with house.connect() as connection:
                while True:
                    connection.writer.write(request())
                    answer = await connection.reply()
                    assert answer.status == 200
                    count += 1
                    if count == 20:
                        served.set()
                    if "connection" in answer:
                        return count

        clients = [asyncio.create_task(client()) for _ in range(32)]
        await served.wait()
        await house.server.drain(30)
        counts = await asyncio.gather(*clients)
        assert sum(counts) == len(house.functions.events)
