"""An exception at any await of a connection's task ends only that connection."""

import asyncio
from collections.abc import Callable, Coroutine, Generator
from pathlib import Path
from types import coroutine
from typing import Any

import pytest

from bus.bus import Bus
from bus.event import Event
from bus.outcome import Ok, Outcome
from tests.kit.http_server import LAST, Functions, Running, request
from triggers.http import HttpSettings, Route, RouteTable, StaticRoute
from triggers.http.server import HttpServer
from triggers.http.socket.connection import Connection

pytestmark = pytest.mark.any_user

LARGE = 8 * 1024 * 1024


@coroutine
def throwing(task: Coroutine[Any, Any, None], at: int, error: Exception) -> Generator[Any, Any, bool]:
    """Run `task` and raise the error at its `at`th wait; return whether it got that far."""
    waits = 0
    try:
        awaited = task.send(None)
        while True:
            waits += 1
            if waits == at:
                awaited = task.throw(error)
            try:
                sent = yield awaited
            except BaseException as cancelled:
                awaited = task.throw(cancelled)
            else:
                awaited = task.send(sent)
    except StopIteration:
        return waits >= at


class Fault:
    """Serves a connection with `serve`. Only the task of the first connection gets the error."""

    def __init__(self, serve: Callable[[Connection], Coroutine[Any, Any, None]], at: int, error: Exception) -> None:
        self._serve, self._at, self._error = serve, at, error
        self.has_thrown: asyncio.Future[bool] | None = None

    async def __call__(self, connection: Connection) -> None:
        if self.has_thrown is not None:
            await self._serve(connection)
            return
        self.has_thrown = asyncio.get_running_loop().create_future()
        thrown = False
        try:
            thrown = await throwing(self._serve(connection), self._at, self._error)
        finally:
            self.has_thrown.set_result(thrown)


async def handle(event: Event) -> Outcome:
    await asyncio.sleep(0)
    return Ok(body=bytes(LARGE) if event.function == "large" else event.body)


async def misuse(house: Running) -> None:
    """One client whose task waits for everything possible: requests, bodies, functions, files, slow reading."""
    async with house.connect() as client:
        client.writer.write(request("/echo"))
        await asyncio.sleep(0.01)
        client.writer.write(request("/echo", "POST", "Content-Length: 5\r\n"))
        await asyncio.sleep(0.01)
        client.writer.write(
            b"hello" + request("/echo") + request("/missing") + request("/files/large") + request("/large")
        )
        await asyncio.sleep(0.05)
        client.writer.write(LAST)
        await client.replies()


@pytest.mark.parametrize("error", [RuntimeError("oh"), ExceptionGroup("oh", [OSError("oh")])], ids=repr)
async def test_an_exception_at_any_await_ends_no_other_connection(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "large").write_bytes(bytes(1_000_000))
    routes = (Route(function="echo", path="/echo", timeout_s=60), Route(function="large", path="/large"))
    static = (StaticRoute(path="/files", dir=tmp_path),)
    for at in range(1, 100):
        bus, functions = Bus(), Functions(handle)
        bus.attach(functions)
        server = HttpServer(bus, RouteTable(routes, static), HttpSettings(listen="127.0.0.1:0"))
        house = Running(bus, server, functions)
        async with server.run():
            listener = server._listener
            fault = Fault(listener._attend, at, error)
            monkeypatch.setattr(listener, "_attend", fault)
            try:
                await misuse(house)
            except (ConnectionError, asyncio.IncompleteReadError):
                assert fault.has_thrown is not None
            assert [answer.status for answer in await house.talk(LAST)] == [200]
            await house.server.wait_unconnected()
            assert listener.connections.bodies.used_bytes == listener.connections.unread.used_bytes == 0
            assert fault.has_thrown is not None
            if not await fault.has_thrown:
                assert at > 10, "it has waited for everything"
                return
    raise AssertionError("there is always one await more")
