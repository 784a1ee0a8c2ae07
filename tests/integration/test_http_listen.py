"""Unix sockets and inherited sockets: who may connect, what is left behind, and who waits for the next server."""

import asyncio
import os
import socket
import stat
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvloop

from tests.kit.http_server import LAST, Client, request, running
from triggers.http import HttpSettings, ListenError
from triggers.http.settings import Network

pytestmark = pytest.mark.any_user


@asynccontextmanager
async def connected(path: Path) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()


def at(path: Path, *trusted: str) -> HttpSettings:
    return HttpSettings(listen=f"unix:{path}", trusted_proxies=trusted)  # type: ignore[arg-type]


async def test_a_unix_socket_comes_and_goes(tmp_path: Path) -> None:
    path = tmp_path / "s"
    async with running(settings=at(path)) as house:
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        async with connected(path) as client:
            client.writer.write(request() + LAST)
            assert [reply.status for reply in await client.replies()] == [200, 200]
        assert [event.http.remote for event in house.functions.events if event.http] == ["", ""]
    assert not path.exists()


async def test_a_proxy_at_a_unix_socket_can_be_trusted(tmp_path: Path) -> None:
    async with running(settings=at(tmp_path / "s", "unix")) as house, connected(tmp_path / "s") as client:
        client.writer.write(request(headers="X-Forwarded-For: 198.51.100.1\r\nX-Forwarded-Proto: https\r\n"))
        assert (await client.reply()).status == 200
        [event] = house.functions.events
        assert event.http is not None
        assert (event.http.remote, event.http.scheme) == ("198.51.100.1", "https")


async def test_the_socket_of_a_dead_server_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        dead.listen()
    async with running(settings=at(path)), connected(path) as client:
        client.writer.write(request())
        assert (await client.reply()).status == 200


async def test_a_live_server_keeps_its_socket(tmp_path: Path) -> None:
    async with running(settings=at(tmp_path / "s")):
        with pytest.raises(ListenError, match="another program is listening there"):
            async with running(settings=at(tmp_path / "s")):
                raise AssertionError
        async with connected(tmp_path / "s") as client:
            client.writer.write(request())
            assert (await client.reply()).status == 200


async def test_a_successor_keeps_its_socket(tmp_path: Path) -> None:
    async with running(settings=at(tmp_path / "s")):
        (tmp_path / "s").unlink()
        successor = socket.socket(socket.AF_UNIX)
        successor.bind(str(tmp_path / "s"))
    with successor:
        assert (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("name", "reason"),
    [("file", "a file that is not a socket"), ("none/s", "No such file or directory"), ("file/s", "Not a directory")],
)
async def test_a_path_that_cannot_be_used_is_one_line(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "file").write_text("kept")
    with pytest.raises(ListenError, match=reason) as caught:
        async with running(settings=at(tmp_path / name)):
            raise AssertionError
    assert "\n" not in str(caught.value)
    assert (tmp_path / "file").read_text() == "kept"


async def test_a_client_of_a_given_socket_waits_for_the_next_server() -> None:
    with socket.create_server(("127.0.0.1", 0)) as shared:
        port = shared.getsockname()[1]
        async with running(given=shared.dup()) as first:
            await first.server.drain(0)
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request())
        async with running(given=shared.dup()):
            assert (await Client(reader, writer).reply()).status == 200
        writer.close()


async def test_a_given_unix_socket_stays(tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "s"))
    async with running(given=listener), connected(tmp_path / "s") as client:
        client.writer.write(request())
        assert (await client.reply()).status == 200
    assert os.listdir(tmp_path) == ["s"]


def test_a_client_that_reset_before_being_accepted_is_not_a_unix_peer() -> None:
    """The kernel no longer knows its address, which uvloop asks for late, but still has the bytes that it sent."""

    async def scenario() -> None:
        sent = request(headers="X-Forwarded-For: 192.0.2.1\r\n")
        trusting = HttpSettings(listen="127.0.0.1:0", trusted_proxies=(Network("unix"),))
        async with running(settings=trusting) as house:
            gone = socket.create_connection(("127.0.0.1", house.server.port))  # accepted at the next await
            gone.send(sent)
            gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            gone.close()
            [answer] = await house.talk(LAST)
            assert answer.status == 200
            assert {exchange.client for exchange in house.record} == {"127.0.0.1"}

    uvloop.run(scenario())
