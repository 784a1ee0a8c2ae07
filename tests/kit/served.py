"""A running `forklight serve` as a process, and what tests ask it: over HTTP, over its control socket, in its log."""

import asyncio
import atexit
import contextlib
import functools
import json
import re
import shlex
import signal
import subprocess
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp

from forklight.state.directory import remove_tree
from tests.kit import installed
from tests.kit.children import children
from tests.kit.support import processes_with, until

LIMIT_S = 40.0
"""How long anything may take that has to happen; no test measures time with it."""
ENVIRON = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "SSL_CERT_FILE": "/dev/null"}
"""aiohttp reads all certificates of the system at import, twice, for 0.1 s; no test connects to where one is needed."""


class Server:
    """One running server. `folder` is its application's; `said` are the lines of its standard error so far."""

    def __init__(self, process: Process, folder: Path) -> None:
        self.process = process
        self.folder = folder
        self.state = folder / "state"
        self.said: list[str] = []
        self.url = ""
        self.admin_url = ""
        self.http: aiohttp.ClientSession

    @property
    def log(self) -> str:
        """What it wrote to standard output so far."""
        return (self.folder / "log").read_text()

    def entries(self, **wanted: Any) -> list[dict[str, Any]]:
        """The lines of its JSON log so far that have these fields."""
        found = [json.loads(line) for line in self.log.splitlines()]
        return [entry for entry in found if wanted.items() <= entry.items()]

    async def get(self, path: str, **options: Any) -> "Reply":
        return await self.request("GET", path, **options)

    async def post(self, path: str, data: Any = None, **options: Any) -> "Reply":
        """POST `data` as JSON."""
        return await self.request("POST", path, json=data, **options)

    async def request(self, method: str, path: str, **options: Any) -> "Reply":
        async with self.http.request(method, self.url + path, **options) as response:
            return Reply(response.status, response.headers, await response.read())

    async def ask(self, resource: str) -> "Reply":
        """GET over the control socket."""
        connector = aiohttp.UnixConnector(str(self.state / "control.sock"))
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.get(f"http://localhost{resource}") as response,
        ):
            return Reply(response.status, response.headers, await response.read())

    async def status(self, function: str) -> Any:
        """What `ps --json` tells of one function."""
        functions = (await self.ask("/status")).json()["functions"]
        return next(one for one in functions if one["name"] == function)

    async def wait_instances(self, function: str, **wanted: int) -> None:
        """Until its instances, by state, are as many as wanted."""

        async def are() -> bool:
            return bool(wanted.items() <= (await self.status(function))["instances"].items())

        await eventually(are)

    async def run(self, *arguments: str) -> "Finished":
        """Another command beside the running server, to its end."""
        return await run(*arguments, cwd=self.folder)

    def zygotes(self) -> list[int]:
        """The processes right below the server."""
        return children(self.process.pid)

    def templates(self) -> list[int]:
        return [pid for zygote in self.zygotes() for pid in children(zygote)]

    def instances(self) -> list[int]:
        return [pid for template in self.templates() for pid in children(template)]

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; the exit status."""
        self.send(number)
        return await self.wait()

    async def wait(self) -> int:
        """The exit status, once it has ended."""
        return await asyncio.wait_for(self.process.wait(), LIMIT_S)

    async def wait_said(self, pattern: str) -> "re.Match[str]":
        """The first line on its standard error, so far or to come, in which the pattern is found."""
        assert self.process.stderr is not None
        while True:
            for line in self.said:
                if found := re.search(pattern, line):
                    return found
            line = (await asyncio.wait_for(self.process.stderr.readline(), LIMIT_S)).decode()
            assert line, f"ended without {pattern!r}:\n{''.join(self.said)}"
            self.said.append(line)


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    """Ask until it is so: what is waited for happens in other processes."""
    async with asyncio.timeout(LIMIT_S):
        while not await condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


class Reply:
    """A response that has been read."""

    def __init__(self, status: int, headers: Any, body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def start(self) -> str:
        """The start kind."""
        return str(self.headers["X-Forklight-Start"])


class Finished:
    """A command that has ended."""

    def __init__(self, status: int | None, stdout: bytes, stderr: bytes) -> None:
        self.status = status
        self.stdout = stdout.decode()
        self.stderr = stderr.decode()


def environ(folder: Path, **more: str) -> dict[str, str]:
    """The environment of commands on the application in this folder."""
    return ENVIRON | {"FORKLIGHT_STATE": str(folder / "state")} | more


@contextlib.asynccontextmanager
async def started(*arguments: str, cwd: Path, **variables: str) -> AsyncIterator[Process]:
    """`forklight ARGUMENTS`, killed if it still runs at the end of the block."""
    process = await asyncio.create_subprocess_exec(
        installed.command(), *arguments, cwd=cwd, env=environ(cwd, **variables), stdout=PIPE, stderr=PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
        process._transport.close()  # type: ignore[attr-defined]  # asyncio leaves it to the garbage collector


async def run(*arguments: str, cwd: Path) -> Finished:
    """`forklight ARGUMENTS` to its end."""
    async with started(*arguments, cwd=cwd) as process:
        stdout, stderr = await asyncio.wait_for(process.communicate(), LIMIT_S)
        return Finished(process.returncode, stdout, stderr)


@contextlib.asynccontextmanager
async def serving(
    folder: Path, *arguments: str, command: str = "serve", within: str = "", **variables: str
) -> AsyncIterator[Server]:
    """`forklight serve ARGUMENTS`, or another `command`, in this folder, on a free port, from its readiness on.

    `within` is a shell's line that runs the words after it. At the end nothing of it may be left: no process, no
    private folder of an instance.
    """
    listen = () if "--listen" in arguments or variables else ("--listen", "127.0.0.1:0")
    if "--state" not in arguments:
        _give_guest(folder / "state")
    line = [*shlex.split(within), str(installed.command()), command, *arguments, *listen]
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *line, cwd=folder, env=environ(folder, **variables), stdout=log, stderr=PIPE
        )
    server = Server(process, folder)
    try:
        server.url = (await server.wait_said(r"(http://\S+?:\d+)"))[1]
        _keep_guest(server.state)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as server.http:
            yield server
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                await server.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
                raise
        process._transport.close()  # type: ignore[attr-defined]  # asyncio leaves it to the garbage collector
    await until(lambda: not processes_with(str(server.state)))
    if process.returncode == 0:
        assert list((server.state / "tmp").iterdir()) == []


def _give_guest(state: Path) -> None:
    """Make a state with the compiled guest of the first server, which all others would make again for 0.3 s each."""
    if not state.exists() and any(_guests().iterdir()):
        state.mkdir()
        _copy(_guests(), state / "guest")


def _keep_guest(state: Path) -> None:
    if (state / "guest").exists() and not any(_guests().iterdir()):
        _copy(state / "guest", _guests())


def _copy(source: Path, target: Path) -> None:
    subprocess.run(["cp", "--archive", "--no-target-directory", str(source), str(target)], check=True)


@functools.cache
def _guests() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="forklight-guests-"))
    atexit.register(remove_tree, folder)
    return folder
