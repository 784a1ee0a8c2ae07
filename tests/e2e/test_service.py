"""As a service manager runs it: readiness, watchdog, a socket opened before the server, and one handed to the next."""

import asyncio
import contextlib
import os
import shlex
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.kit import installed
from tests.kit.application import application
from tests.kit.broker import Node
from tests.kit.proxy import proxy_to
from tests.kit.served import ENVIRON, LIMIT_S, environ, run

TOML = '[functions.pid]\nhandler = "f:pid"\nhttp = "GET /"\n'

HANDED = """
import os, sys
if sys.argv[1] != "-":
    os.dup2(int(sys.argv[1]), 3)
    os.environ |= {"LISTEN_FDS": sys.argv[2], "LISTEN_PID": str(os.getpid())}
os.execv(sys.argv[3], sys.argv[3:])
"""


class Manager:
    """What systemd is to a service: it listens for what the server tells."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.told = ""
        """The last message."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(folder / "notify"))
        self._socket.setblocking(False)

    async def __aenter__(self) -> "Manager":
        return self

    async def __aexit__(self, *_: object) -> None:
        self._socket.close()

    async def wait_told(self, state: str) -> None:
        while await self.wait_told_of(state) != state:
            pass

    async def wait_told_of(self, beginning: str) -> str:
        """The next message that begins so."""
        async with asyncio.timeout(LIMIT_S):
            while True:
                self.told = (await asyncio.get_running_loop().sock_recv(self._socket, 4096)).decode()
                if self.told.startswith(beginning):
                    return self.told

    @contextlib.asynccontextmanager
    async def started(self, listener: socket.socket | None, count: str = "1", **more: str) -> AsyncIterator[Process]:
        """`forklight serve` with this socket; `count` is what LISTEN_FDS says, `more` variables."""
        number = "-" if listener is None else str(listener.fileno())
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", HANDED, number, count, str(installed.command()), "serve", "--quiet"),
            cwd=self.folder,
            env=environ(
                self.folder, NOTIFY_SOCKET=str(self.folder / "notify"), WATCHDOG_USEC="200000", PORT="0", **more
            ),
            pass_fds=() if listener is None else (listener.fileno(),),
            stderr=PIPE,
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()
            process._transport.close()  # type: ignore[attr-defined]  # asyncio leaves it to the garbage collector


async def get(port: int) -> int:
    async with aiohttp.ClientSession() as client, client.get(f"http://127.0.0.1:{port}/") as answer:
        return answer.status


@pytest.mark.ordinary_user
async def test_a_server_that_a_manager_starts_and_replaces() -> None:
    with application(TOML) as folder, socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        async with Manager(folder) as manager:
            async with manager.started(listener) as first:
                await manager.wait_told("READY=1")
                await manager.wait_told("WATCHDOG=1")
                assert await get(port) == 200
                first.send_signal(signal.SIGTERM)
                await manager.wait_told("STOPPING=1")
                assert await asyncio.wait_for(first.wait(), LIMIT_S) == 0
            waiting = asyncio.create_task(get(port))
            async with manager.started(listener) as second:
                assert await asyncio.wait_for(waiting, LIMIT_S) == 200
                second.send_signal(signal.SIGTERM)
                assert await asyncio.wait_for(second.wait(), LIMIT_S) == 0
                assert second.stderr is not None
                assert f"http://127.0.0.1:{port}/" in (await second.stderr.read()).decode()


@pytest.mark.ordinary_user
async def test_the_unit_reloads_by_a_command_that_fails_if_the_reload_does() -> None:
    """It finds the server as systemd runs it: without --state, by the folder of `StateDirectory=`."""
    with application(TOML) as folder:
        unit = (await run("systemd", cwd=folder)).stdout
        [command] = [line.removeprefix("ExecReload=") for line in unit.splitlines() if line.startswith("ExecReload=")]
        variables = {"PATH": ENVIRON["PATH"], "STATE_DIRECTORY": str(folder / "state")}

        async def reload() -> tuple[int | None, str]:
            process = await asyncio.create_subprocess_exec(
                *shlex.split(command), cwd="/", env=variables, stdout=DEVNULL, stderr=PIPE
            )
            _, stderr = await asyncio.wait_for(process.communicate(), LIMIT_S)
            process._transport.close()  # type: ignore[attr-defined]  # asyncio leaves it to the garbage collector
            return process.returncode, stderr.decode()

        async with Manager(folder) as manager, manager.started(None) as server:
            await manager.wait_told("READY=1")
            (folder / "forklight.toml").write_text(TOML + 'timeuot = "1s"\n')
            status, stderr = await reload()
            assert (status, "forklight.toml:4 functions.pid.timeuot: " in stderr) == (2, True)
            assert "functions.pid.timeuot: " in await manager.wait_told_of("STATUS=the last reload failed: ")
            (folder / "forklight.toml").write_text(TOML)
            assert await reload() == (0, "")
            assert await manager.wait_told_of("STATUS=") == "STATUS="
            server.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(server.wait(), LIMIT_S) == 0


@pytest.mark.parametrize(
    ("count", "said"),
    [
        ("2", "Error: LISTEN_FDS is '2': only one can be used, so keep one ListenStream= in the unit\n"),
        ("1", "Error: the inherited socket does not listen for streams: write ListenStream= and Accept=no\n"),
    ],
)
async def test_sockets_that_cannot_be_used(count: str, said: str) -> None:
    with application(TOML) as folder, socket.socket() as unbound:
        async with Manager(folder) as manager, manager.started(unbound, count) as process:
            _, stderr = await asyncio.wait_for(process.communicate(), LIMIT_S)
            assert (process.returncode, stderr.decode()) == (1, said)


async def test_a_unix_socket_from_the_configuration() -> None:
    with application(TOML + '[http]\nlisten = "unix:${PWD}/web.sock"\n') as folder:
        path = folder / "web.sock"
        variables = environ(folder, PWD=str(folder))
        command = (installed.command(), "serve", "--quiet")
        process = await asyncio.create_subprocess_exec(*command, cwd=folder, env=variables, stderr=PIPE)
        try:
            assert process.stderr is not None
            said = b""
            while b"Try:" not in said:
                said = await asyncio.wait_for(process.stderr.readline(), LIMIT_S)
            assert said.decode() == f"Try: curl --unix-socket {path} http://localhost/\n"
            connector = aiohttp.UnixConnector(str(path))
            async with aiohttp.ClientSession(connector=connector) as client, client.get("http://localhost/") as answer:
                assert answer.status == 200
            process.terminate()
            assert await asyncio.wait_for(process.wait(), LIMIT_S) == 0
            assert path.name not in os.listdir(folder)
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()
            process._transport.close()  # type: ignore[attr-defined]  # asyncio leaves it to the garbage collector


async def test_a_server_is_ready_once_its_broker_is_there(rabbitmq: Node) -> None:
    with application(TOML) as folder:
        async with Manager(folder) as manager, proxy_to(rabbitmq.port) as proxy:
            proxy.cut()
            url = rabbitmq.fresh_url().replace(f":{rabbitmq.port}/", f":{proxy.port}/")
            async with manager.started(None, FORKLIGHT_BUS_URL=url) as server:
                status = await manager.wait_told_of("STATUS=")
                assert f"cannot connect to RabbitMQ at 127.0.0.1:{proxy.port}" in status
                assert "EXTEND_TIMEOUT_USEC=" in status
                proxy.mend()
                await manager.wait_told_of("READY=1")
                server.send_signal(signal.SIGTERM)
                assert await asyncio.wait_for(server.wait(), LIMIT_S) == 0
                assert server.stderr is not None
                assert (await server.stderr.read()).decode().count("cannot connect to") == 1


async def test_a_signal_ends_the_wait_for_a_broker() -> None:
    with application(TOML) as folder, socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"amqp://guest:guest@127.0.0.1:{unused.getsockname()[1]}/"
        async with Manager(folder) as manager, manager.started(None, FORKLIGHT_BUS_URL=url) as server:
            assert "nothing listens there" in await manager.wait_told_of("STATUS=")
            server.send_signal(signal.SIGHUP)
            server.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(server.wait(), LIMIT_S) == 0


@pytest.mark.parametrize(
    ("wait", "user", "said"),
    [("0s", "guest", "nothing listens there"), ("1h", "nobody", "refuses this user or password (ACCESS_REFUSED")],
)
async def test_a_wait_that_is_over_or_has_no_hope(rabbitmq: Node, wait: str, user: str, said: str) -> None:
    with application(TOML + f'[bus]\nwait = "{wait}"\n') as folder, socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1] if user == "guest" else rabbitmq.port
        url = f"amqp://{user}:guest@127.0.0.1:{port}/"
        async with Manager(folder) as manager, manager.started(None, FORKLIGHT_BUS_URL=url) as server:
            _, stderr = await asyncio.wait_for(server.communicate(), LIMIT_S)
            assert (server.returncode, said in stderr.decode()) == (1, True), stderr.decode()
