"""Our half of the bare things: an echo on the same event loop, a fork of a process of the same size, an interpreter."""

import asyncio
import contextlib
import socket
import struct
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Literal

from benchmarks.workshop import Workshop

SCRIPT = Path(__file__).with_name("bare_process.py")
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


class Bare:
    """One bare process and the socket to it."""

    def __init__(self, pid: int, connection: socket.socket) -> None:
        self.pid = pid
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[bytes] = self._loop.create_future()
        self._loop.add_reader(connection, self._readable)

    def ask(self, request: bytes) -> "asyncio.Future[bytes]":
        """Write the request at once; the future gets what is read next. As little as an event loop can do."""
        self._waiter = self._loop.create_future()
        self._connection.send(request)
        return self._waiter

    async def fork_ns(self) -> int:
        """One bare fork with its child's first byte."""
        (found,) = struct.unpack("=Q", await self.ask(b"f"))
        return int(found)

    def close(self) -> None:
        """No more questions; the process ends by end of file."""
        self._loop.remove_reader(self._connection)

    def _readable(self) -> None:
        self._waiter.set_result(self._connection.recv(64 * 1024))


@contextlib.contextmanager
def bare_socket(
    workshop: Workshop, mode: Literal["echo", "fork"], function: str
) -> Iterator[tuple[socket.socket, int]]:
    """A bare process that has imported what the function's template has, ready: the socket to it, and its pid."""
    ours, theirs = socket.socketpair()
    code = workshop.code(function)
    python = str(workshop.runtime.python)
    argv = [python, "-I", str(SCRIPT), str(theirs.fileno()), mode, str(workshop.guest), str(code), function]
    with subprocess.Popen(argv, pass_fds=[theirs.fileno()], env=_ENVIRONMENT) as process, ours:
        theirs.close()
        ours.recv(1)
        yield ours, process.pid


@contextlib.asynccontextmanager
async def bare_process(workshop: Workshop, mode: Literal["echo", "fork"], function: str) -> AsyncIterator[Bare]:
    """Such a process, asked from an event loop."""
    with bare_socket(workshop, mode, function) as (ours, pid):
        ours.setblocking(False)
        bare = Bare(pid, ours)
        try:
            yield bare
        finally:
            bare.close()


async def interpreter_ns(python: Path) -> int:
    """The time from the start of an interpreter to its first byte: what no zygote can be faster than."""
    ours, theirs = socket.socketpair()
    argv = [str(python), "-I", "-c", f"import os; os.write({theirs.fileno()}, b'.')"]
    begin_ns = time.monotonic_ns()
    with subprocess.Popen(argv, pass_fds=[theirs.fileno()], env=_ENVIRONMENT), ours, theirs:  # noqa: ASYNC220
        ours.setblocking(False)
        await asyncio.get_running_loop().sock_recv(ours, 1)
        return time.monotonic_ns() - begin_ns
