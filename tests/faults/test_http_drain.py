"""SIGTERM loses nothing that was accepted; a second signal waits for nothing; neither leaves anything behind.

That no process and no private folder is left is checked by `serving` at the end of each of these.
"""

import asyncio
import signal

import aiohttp
import pytest
from yarl import URL

from tests.kit.application import Gate, application, function
from tests.kit.load import Load
from tests.kit.rounds import rounds
from tests.kit.served import Server, eventually, serving

pytestmark = pytest.mark.any_user

STOPS = rounds(4, 40)
AT_ONCE = 2


@pytest.mark.timeout(300)
@pytest.mark.parametrize("keep_alive", [True, False], ids=["kept connections", "a connection each"])
async def test_sigterm_under_load_drops_no_request(keep_alive: bool) -> None:
    room = asyncio.Semaphore(AT_ONCE)

    async def stop_one(number: int) -> list[str]:
        async with room:
            return await _stop_under_load(number, keep_alive=keep_alive)

    broken = await asyncio.gather(*(stop_one(number) for number in range(STOPS // 2)))
    assert [one for one in broken if one] == []


async def _stop_under_load(number: int, *, keep_alive: bool) -> list[str]:
    """What became of requests beside 200, after SIGTERM to a server that has given a hundred answers and some more."""
    with application(function("pid", max_instances=4)) as folder:
        async with serving(folder) as server:
            load = Load(server.url, "/pid", keep_alive=keep_alive)
            async with load.on(16):
                await load.answer(100 + 7 * number)
                server.send(signal.SIGTERM)
                assert await server.wait() == 0
            assert load.refused == 16, "each client went on until nobody listened"
            assert set(load.answers) == {200}
            return load.broken


async def _drains(server: Server) -> None:
    """Until it does: the first signal has been obeyed, and every answer from now on is the last of its connection."""

    async def is_draining() -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", URL(server.url).port)
        except ConnectionRefusedError:
            return (await server.ask("/readyz")).status == 503
        writer.close()
        await writer.wait_closed()
        return False

    await eventually(is_draining)


async def test_a_long_request_finishes() -> None:
    with application(function("wait")) as folder:
        gate = Gate(folder)
        async with serving(folder) as server:
            running = asyncio.create_task(server.post("/wait", gate.request))
            async with gate.held():
                server.send(signal.SIGTERM)
                await _drains(server)
            reply = await running
            assert (reply.status, reply.headers["Connection"]) == (200, "close")
            assert await server.wait() == 0


async def test_what_is_not_done_within_the_drain_is_told_so() -> None:
    with application(function("wait") + '[http]\ndrain = "100ms"\n') as folder:
        gate = Gate(folder)
        async with serving(folder) as server:
            running = asyncio.create_task(server.post("/wait", gate.request))
            async with gate.held():
                server.send(signal.SIGTERM)
                assert (await running).status == 503
                assert await server.wait() == 0


async def test_a_second_signal_waits_for_nothing() -> None:
    with application(function("wait")) as folder:
        gate = Gate(folder)
        async with serving(folder) as server:
            running = asyncio.create_task(server.post("/wait", gate.request))
            async with gate.held():
                server.send(signal.SIGTERM)
                await _drains(server)
                server.send(signal.SIGTERM)
                assert await server.wait() == 0
            reply = (await asyncio.gather(running, return_exceptions=True))[0]
            assert isinstance(reply, aiohttp.ClientError) or reply.status == 503  # type: ignore[union-attr]
