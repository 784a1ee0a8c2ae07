"""The forwarder, in this process: connections pass through it to a server of the test."""

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from sandbox.guest._forklight import forwarder
from tests.kit.support import until

pytestmark = pytest.mark.any_user

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
MIB = 1024 * 1024


class Box:
    """A box that is this process: a socket that listens, whose connections are forwarded to a server."""

    def __init__(self, port: int) -> None:
        self.server_end, self.guest_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.forwarder = forwarder.Forwarder(self.guest_end)
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=16)
        self.address = self.listener.getsockname()
        fd = os.dup(self.listener.fileno())
        self.forwarder.take({"t": "forward", "n": 7, "to": [["127.0.0.1", port]]}, [fd])
        assert self.told() == {"t": "forwarding", "n": 7}

    def told(self) -> object:
        """The next message to the server."""
        self.server_end.settimeout(10)
        return json.loads(self.server_end.recv(65536))

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A client's connection."""
        return await asyncio.open_connection(*self.address)

    def close(self) -> None:
        """The box has ended."""
        self.forwarder.take({"t": "release", "n": 7}, [])
        for one in (self.server_end, self.guest_end, self.listener):
            one.close()


@contextlib.asynccontextmanager
async def box_to(serve: Serve) -> AsyncIterator[Box]:
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        box = Box(server.sockets[0].getsockname()[1])
        try:
            yield box
        finally:
            box.close()


async def test_a_sender_waits_for_a_receiver_that_does_not_read() -> None:
    """Neither does the forwarder keep what it cannot pass on."""
    reading = asyncio.Event()
    received = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal received
        await reading.wait()
        while data := await reader.read(MIB):
            received += len(data)
        writer.close()

    async with box_to(serve) as box:
        reader, writer = await box.connect()
        size, sent = 64 * MIB, 0
        while sent < size:
            writer.write(bytes(MIB))
            try:
                await asyncio.wait_for(writer.drain(), 0.5)
            except TimeoutError:
                break
            sent += MIB
        assert sent < size, "everything was taken in"
        reading.set()
        await writer.drain()
        writer.write_eof()
        assert await reader.read() == b""
        assert received == sent + MIB
        writer.close()


async def test_one_direction_goes_on_after_the_other_has_ended() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello ")
        writer.write_eof()
        asked = await reader.read()
        got.set_result(asked)
        writer.close()

    got: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    async with box_to(serve) as box:
        reader, writer = await box.connect()
        assert await reader.read() == b"hello "
        writer.write(b"still here")
        writer.write_eof()
        assert await got == b"still here"
        writer.close()


@pytest.mark.parametrize("resetter", ["server", "client"])
async def test_a_reset_is_passed_on(resetter: str) -> None:
    ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        if resetter == "server":
            forwarder.reset(writer.get_extra_info("socket"))
            writer.transport.abort()
            return
        try:
            ended.set_result(repr(await reader.read()))
        except ConnectionResetError:
            ended.set_result("reset")
        writer.close()

    async with box_to(serve) as box:
        reader, writer = await box.connect()
        writer.write(b"x")
        if resetter == "server":
            with pytest.raises(ConnectionResetError):
                await reader.read()
        else:
            await until(lambda: len(box.forwarder._boxes[7]._pairs) == 1)
            forwarder.reset(writer.get_extra_info("socket"))
            writer.transport.abort()
            assert await ended == "reset"
        writer.close()
        await until(lambda: not box.forwarder._boxes[7]._pairs)


async def test_connections_beyond_the_bound_wait_and_none_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forwarder, "MOST_CONNECTIONS", 2)
    open_now = most = 0
    go = asyncio.Event()

    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        await go.wait()
        writer.write(b"done")
        open_now -= 1
        writer.close()

    async def ask() -> bytes:
        reader, writer = await box.connect()
        found = await reader.read()
        writer.close()
        return found

    async with box_to(serve) as box:
        asking = [asyncio.create_task(ask()) for _ in range(6)]
        await until(lambda: open_now == 2)
        go.set()
        assert await asyncio.gather(*asking) == [b"done"] * 6
        assert most == 2


async def test_a_box_that_ends_takes_its_connections_with_it() -> None:
    gone = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"x")
        with contextlib.suppress(ConnectionResetError):
            await reader.read()
        gone.set()
        writer.close()

    async with box_to(serve) as box:
        reader, writer = await box.connect()
        assert await reader.readexactly(1) == b"x"
        box.forwarder.take({"t": "release", "n": 7}, [])
        with pytest.raises(ConnectionResetError):
            await reader.read()
        await asyncio.wait_for(gone.wait(), 10)
        writer.close()


async def test_an_unreachable_place_is_told_once_for_each_reason() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    box = Box(port)
    for _ in range(3):
        reader, writer = await box.connect()
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()
    assert box.told() == {"t": "unreachable", "n": 7, "message": f"127.0.0.1:{port}: Connection refused"}
    box.server_end.setblocking(False)
    with pytest.raises(BlockingIOError):
        box.server_end.recv(100)
    box.close()
