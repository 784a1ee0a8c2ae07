"""What the tests of the guest's author side share: invoke frames, functions, and processes that import the guest."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from sandbox.guest._forklight import aio, wire
from sandbox.guest._forklight.handler import Function
from sandbox.guest._forklight.invocation import Reply, run
from sandbox.guest._forklight.orphans import Orphans

GUEST = Path(__file__).parents[2] / "sandbox" / "guest"
PROCESS_TIMEOUT_S = 50


def make_function(call: Callable[..., Any], max_result: int = 6 * 1024 * 1024) -> Function:
    return Function(name="shop", version="v1", call=call, max_result=max_result)


def make_head(timeout_s: float = 60.0, i: int = 7, **fields: Any) -> dict[str, Any]:
    """The header of an invoke frame, of an event with the given fields."""
    event = {"id": "e1", "source": "/test", "type": "forklight.call", "call": {"caller": "cli"}, **fields}
    deadline_ns = time.monotonic_ns() + int(timeout_s * 1e9)
    return {"t": "invoke", "i": i, "deadline_ns": deadline_ns, "attempt": 2, "start": "fork", "event": event}


def never() -> bool:
    return False


class Answer(NamedTuple):
    """A reply with its header decoded, without `log`."""

    header: dict[str, Any]
    chunks: list[bytes]


def decoded(reply: Reply) -> Answer:
    return Answer(json.loads(f"{{{reply.fields}}}"), reply.chunks)


def call(handler: Callable[..., Any], body: bytes = b"", **fields: Any) -> Answer:
    """One invocation of a sync handler with a deadline that stays ahead."""
    return decoded(run(make_function(handler), make_head(**fields), body, never))


def run_guest(script: str, cwd: Path, *, interpreter: str = sys.executable) -> subprocess.CompletedProcess[str]:
    """Runs a script in a process that, like a template, has the guest and nothing of the application to import."""
    prelude = f"import sys; sys.path.insert(0, {str(GUEST)!r}); sys.dont_write_bytecode = True\n"
    return subprocess.run(
        [interpreter, "-I", "-c", prelude + script],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=PROCESS_TIMEOUT_S,
        check=False,
    )


class Loop:
    """The serve loop of an async handler, in a thread, at one end of a socket pair; the test is the server."""

    def __init__(self, function: Function, log: int, stack: int) -> None:
        self.socket, self._theirs = socket.socketpair()
        self.socket.settimeout(PROCESS_TIMEOUT_S)
        self.stack = stack
        self._thread = threading.Thread(target=aio.serve, args=(function, self._theirs, log, stack, Orphans()))
        self._thread.start()
        self._bytes = b""

    def send(self, *frames: "dict[str, Any]") -> None:
        """Write these headers, each a frame without a body, in one piece."""
        self.socket.sendall(b"".join(wire.pack(wire.encode(header), [])[0] for header in frames))

    def receive(self) -> Answer:
        """The next frame."""
        while True:
            if len(self._bytes) >= wire.LENGTHS.size:
                header_length, body_length = wire.LENGTHS.unpack_from(self._bytes)
                start, end = wire.LENGTHS.size, wire.LENGTHS.size + header_length + body_length
                if len(self._bytes) >= end:
                    header, body = self._bytes[start : start + header_length], self._bytes[start + header_length : end]
                    self._bytes = self._bytes[end:]
                    return Answer(json.loads(header), [body])
            data = self.socket.recv(1024 * 1024)
            assert data, "the loop has closed its end"
            self._bytes += data

    def close(self) -> None:
        """End of file, as from a server that has no more calls."""
        self.socket.shutdown(socket.SHUT_WR)
        self._thread.join(PROCESS_TIMEOUT_S)
        assert not self._thread.is_alive()
        self.socket.close()
        self._theirs.close()


@contextlib.contextmanager
def serving(handler: Callable[..., Any], *, concurrency: int = 10, max_result: int = 6 * 1024 * 1024) -> Iterator[Loop]:
    """A running loop, which has to end by itself after the block."""
    function = Function(name="shop", version="v1", call=handler, max_result=max_result, concurrency=concurrency)
    log, log_end = os.pipe()
    stack = os.memfd_create("stack")
    loop = Loop(function, log_end, stack)
    try:
        yield loop
    finally:
        loop.close()
        for fd in (log, log_end, stack):
            os.close(fd)
