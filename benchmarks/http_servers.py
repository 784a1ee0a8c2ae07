"""Servers as processes: started on a free port of the loopback, asked, and ended."""

import contextlib
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

from forklight.state.directory import remove_tree

READY_LIMIT_S = 30.0
_END_LIMIT_S = 15.0
_RETRY_S = 0.001


class Server(NamedTuple):
    """How to start one: `{port}` in an argument becomes the port, `env` comes on top of ours."""

    name: str
    argv: tuple[str, ...]
    env: dict[str, str] = {}


class Running(NamedTuple):
    """One that listens; `pid` is the root of its processes."""

    name: str
    pid: int
    port: int
    started_ns: int
    """when its first process was started (CLOCK_MONOTONIC)"""


class ServerError(Exception):
    """A server did not start or did not answer; the message has its last words."""


class Answer(NamedTuple):
    """How long one request took, and the start kind that Forklight told; empty for a peer."""

    taken_ms: float
    start: str


class Client:
    """One open connection, with nothing between it and the socket."""

    def __init__(self, running: Running) -> None:
        self._socket = socket.create_connection(("127.0.0.1", running.port), timeout=READY_LIMIT_S)
        self._name = running.name

    def get(self, path: str) -> Answer:
        """From before the request is written until the answer begins. Raises ServerError if it is not 200."""
        begin_ns = time.monotonic_ns()
        self._socket.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        head = self._socket.recv(64 * 1024)
        taken_ms = (time.monotonic_ns() - begin_ns) / 1e6
        if not head.startswith(b"HTTP/1.1 200 "):
            raise ServerError(f"{self._name} answered GET {path} with {head[:300]!r}")
        head, _, body = head.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"\r\ncontent-length: ")[2].partition(b"\r\n")[0] or 0)
        while len(body) < length:
            body += self._socket.recv(64 * 1024)
        _, _, start = head.partition(b"\r\nx-forklight-start: ")
        return Answer(taken_ms, start.partition(b"\r\n")[0].decode())

    def close(self) -> None:
        self._socket.close()


@contextlib.contextmanager
def running(server: Server) -> Iterator[Running]:
    """The server, from when it accepts connections. Raises ServerError if it ends before, or never does."""
    port = _free_port()
    argv = [argument.format(port=port) for argument in server.argv]
    with tempfile.TemporaryFile() as words:
        started_ns = time.monotonic_ns()
        process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=words, env=os.environ | server.env)
        try:
            _wait_listening(server, process, port, words)
            yield Running(server.name, process.pid, port, started_ns)
        finally:
            _end(process)


def _wait_listening(server: Server, process: "subprocess.Popen[bytes]", port: int, words: IO[bytes]) -> None:
    end_s = time.monotonic() + READY_LIMIT_S
    while time.monotonic() < end_s and process.poll() is None:
        with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(_RETRY_S)
    words.seek(0)
    raise ServerError(f"{server.name} does not listen: {words.read().decode(errors='replace')[-2000:]}")


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(_END_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextlib.contextmanager
def state_folder() -> Iterator[Path]:
    """A temporary folder for state directories, whose snapshots are read-only even for their owner."""
    folder = Path(tempfile.mkdtemp(prefix="forklight-benchmark-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        remove_tree(folder)


def forklight(config: Path, state: Path, python: str, *options: str, name: str = "Forklight") -> Server:
    """Ours, as an operator starts it."""
    serve = (python, "-m", "forklight", "serve", str(config), "--state", str(state))
    return Server(name, (*serve, "--listen", "127.0.0.1:{port}", *options))
