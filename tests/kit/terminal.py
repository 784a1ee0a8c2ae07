"""A terminal that types a page's commands: one after the other in bash, with servers running beside them."""

import asyncio
import contextlib
import os
import re
import signal
import socket
import time
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import AsyncIterator
from pathlib import Path

from forklight.state.directory import remove_tree
from tests.kit import installed
from tests.kit.served import ENVIRON
from tests.kit.support import readable_folder, until

WRITTEN = "127.0.0.1:8080"
"""The address of servers in pages; here they listen on a free port."""
LIMIT_S = 40
"""How long a command may take, and a server until it is ready."""
_BREATH_S = 5
"""How long a server may take to come to what the page shows."""
_SERVER = re.compile(r"(?:[A-Z_]+=\S* )*forklight (serve|dev)\b")
_READY = "Forklight serves "
_ASKS = re.compile(r"curl |forklight (?:dlq (?:list|show)|logs|ps|timers|why)\b")
"""What asks a server asks again, for a breath, until it is told what the page shows: a reader is slower than a test."""
_REMEMBERED = r"""
. {memory}
trap '{{ export -p; printf "cd %q\n" "$PWD"; }} > {memory}' EXIT
set -a
{command}
"""
"""A command that goes on where the one before it was, with its variables, and leaves its own."""


class Unlike(Exception):
    """A command did not do what the page shows."""


class Terminal:
    """In `folder`, with the installed Forklight. Use `open_terminal`."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "page"
        self.state = self.folder / ".forklight"
        self._memory = root / "memory"
        self._logs = root / "logs"
        self._address = f"127.0.0.1:{_free_port()}"
        self._server: Process | None = None
        self._is_dev = False
        self._beside: list[Process] = []
        self._environ = ENVIRON | {
            "PATH": f"{installed.command().parent}:{ENVIRON['PATH']}",
            "HOME": str(root),
            "FORKLIGHT_LISTEN": self._address,
            "FORKLIGHT_STATE": str(self.state),
        }
        self.folder.mkdir()
        self._logs.mkdir()
        self._memory.touch()
        (root / ".curlrc").write_text("silent\nshow-error\n")  # as on a terminal: no progress is shown

    async def type(self, command: str, shown: str) -> None:
        """Run a command; raises Unlike if it fails without a word of the page, or says something else than `shown`.

        A server, and what ends in `&`, goes on until the end of the page; a server also ends when the next one is
        started, as it would with Ctrl-C.
        """
        await self.settle()
        await self.enter(command, shown)

    async def settle(self) -> None:
        """Wait until a running `dev` serves what was saved just now."""
        if self._is_dev:
            await self._once("forklight reload")

    async def enter(self, command: str, shown: str) -> None:
        """Do the same as `type`, without waiting for `dev`."""
        command = command.replace(WRITTEN, self._address)
        if server := _SERVER.match(command):
            await self._end_server()
            self._is_dev = server[1] == "dev"
            self._server = await self._start(command.removesuffix(" &"), shown, is_server=True)
        elif command.endswith(" &"):
            self._beside.append(await self._start(command.removesuffix(" &"), shown))
        else:
            await self._run(command, shown)

    async def _run(self, command: str, shown: str) -> None:
        last_s = time.monotonic() + (_BREATH_S if _ASKS.match(command) else 0)
        while True:
            status, said = await self._once(command)
            if self._is_shown(shown, said) if shown else status == 0:
                return
            if time.monotonic() >= last_s:
                raise Unlike(f"{command} (exit status {status}) said:\n{said}")

    async def _once(self, command: str) -> tuple[int | None, str]:
        """Its exit status and its output."""
        process = await self._bash(_REMEMBERED.format(memory=self._memory, command=command), stdout=PIPE)
        try:
            output, _ = await asyncio.wait_for(process.communicate(), LIMIT_S)
        finally:
            await _end(process)
        return process.returncode, output.decode()

    async def _start(self, command: str, shown: str, *, is_server: bool = False) -> Process:
        """What has been started, once it has said all that the page shows, and a server that it serves."""
        log = self._logs / str(len(list(self._logs.iterdir())))
        with log.open("wb") as file:
            prefix = "exec env " if is_server else ""  # a signal then reaches the server, not the shell
            process = await self._bash(f". {self._memory}\n{prefix}{command}", stdout=file.fileno())

        def is_ready() -> bool:
            return not is_server or _READY in log.read_text()

        def is_shown() -> bool:
            return is_ready() and self._is_shown(f"{shown.rstrip()}…", log.read_text())

        with contextlib.suppress(AssertionError):
            await until(lambda: is_ready() or process.returncode is not None, LIMIT_S)
            await until(lambda: is_shown() or process.returncode is not None, _BREATH_S)
        if not is_shown():
            await _end(process)
            raise Unlike(f"{command} said:\n{log.read_text()}")
        return process

    async def _bash(self, script: str, stdout: int) -> Process:
        return await asyncio.create_subprocess_exec(
            *("/bin/bash", "-c", script),
            cwd=self.folder,
            env=self._environ,
            stdin=DEVNULL,
            stdout=stdout,
            stderr=STDOUT,
            start_new_session=True,
        )

    def _is_shown(self, shown: str, said: str) -> bool:
        return alike(shown, said.replace(self._address, WRITTEN))

    async def _end_server(self) -> None:
        if self._server is not None:
            await _end(self._server)
            self._server = None

    async def end(self) -> None:
        """End what still runs."""
        for process in self._beside:
            await _end(process)
        await self._end_server()


@contextlib.asynccontextmanager
async def open_terminal() -> AsyncIterator[Terminal]:
    """A terminal in an empty folder of its own."""
    with readable_folder() as root:
        terminal = Terminal(root)
        try:
            yield terminal
        finally:
            await terminal.end()
            remove_tree(terminal.folder)  # snapshots in states are read-only


def alike(shown: str, said: str) -> bool:
    """Whether a page shows what was said: `…`, with the spaces around it, stands for anything.

    So columns stay below one another. Spaces at the end of a line stand for nothing.
    """
    pattern = ".*".join(re.escape(part) for part in re.split(" *… *", _lines(shown)))
    return re.fullmatch(pattern, _lines(said), re.DOTALL) is not None


def _lines(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.rstrip().splitlines())


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


async def _end(process: Process) -> None:
    """End it, and what it leaves behind."""
    if process.returncode is None:
        process.terminate()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), LIMIT_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
    process._transport.close()  # type: ignore[attr-defined]  # asyncio leaves it to the garbage collector
