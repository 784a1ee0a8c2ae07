"""Instances that run a command, without a server: the test is at the other end of the frames."""

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sandbox.guest._forklight import wire
from tests.kit.guest import GUEST, PROCESS_TIMEOUT_S, make_head

CODE = Path(__file__).parents[1] / "functions" / "commands"
_SCRIPT = """
import os, sys
sys.path.insert(0, {guest!r})
sys.dont_write_bytecode = True
from _forklight import child, command, logs, posix, wire
posix.become_subreaper()
wire.shared.fd = {memory}
os.dup2({log}, 1)
os.dup2({log}, 2)
for fd in ({data}, {log}, {memory}):
    os.set_inheritable(fd, False)
logs.set_up()
code = os.getcwd()
prepared = child.Command({argv!r}, {form!r}, "shop", "v1", {handler!r}, {max_result}, 128, code, dict(os.environ))
os._exit(command.serve(prepared, {data}, {log}, {memory}, {calls}))
"""


class Commanded:
    """A running instance."""

    def __init__(self, process: "subprocess.Popen[bytes]", own: socket.socket, log: int, memory: int) -> None:
        self.process = process
        self.socket = own
        self.memory = memory
        self._log = log
        self._frames = wire.Frames()
        self._calls = 0

    def receive(self) -> "tuple[dict[str, Any], bytes]":
        """The next frame of the instance."""
        frame = wire.read(self.socket.fileno(), self._frames)
        assert frame is not None, f"the instance has closed its end; it said: {self.log()}"
        return frame

    def send(self, header: "dict[str, Any]", body: bytes = b"") -> None:
        for piece in wire.pack(wire.encode(header), [body]):
            self.socket.sendall(piece)

    def call(self, body: bytes = b"{}", **fields: Any) -> "tuple[dict[str, Any], bytes]":
        """One event and its reply. Fields are those of the event; without a type, the body is JSON."""
        return self.begin(body, **fields).receive()

    def begin(self, body: bytes = b"{}", timeout_s: float = 60.0, **fields: Any) -> "Commanded":
        """Send an event, which has the number of the call as its id."""
        self._calls += 1
        known = {"id": str(self._calls), "datacontenttype": "application/json", "time": "2026-11-27T10:00:00.5Z"}
        self.send(make_head(timeout_s, i=self._calls, **{**known, **fields}), body)
        return self

    def log(self) -> str:
        """What is in the log and was not read before."""
        with contextlib.suppress(BlockingIOError):
            return os.read(self._log, 1024 * 1024).decode()
        return ""

    def end(self) -> int:
        """End of file, as from a server that needs the instance no more; returns its exit code."""
        self.socket.shutdown(socket.SHUT_WR)
        return self.process.wait(PROCESS_TIMEOUT_S)


@contextlib.contextmanager
def commanded(
    handler: str,
    *,
    argv: "tuple[str, ...]" = ("./bootstrap",),
    form: str = "lambda",
    max_result: int = 6 * 1024 * 1024,
    calls: "int | None" = None,
    code: Path = CODE,
) -> Iterator[Commanded]:
    """An instance in the code's folder, which is killed with all that it has started."""
    ours, theirs = socket.socketpair()
    ours.settimeout(None)
    log, log_end = os.pipe()
    os.set_blocking(log, False)
    memory = os.memfd_create("shared")
    os.ftruncate(memory, wire.MEMORY_BYTES)
    os.lseek(memory, wire.STACK_AT, os.SEEK_SET)
    script = _SCRIPT.format(
        guest=str(GUEST),
        argv=argv,
        form=form,
        handler=handler,
        max_result=max_result,
        calls=calls,
        data=theirs.fileno(),
        log=log_end,
        memory=memory,
    )
    process = subprocess.Popen(
        [sys.executable, "-I", "-c", script],
        cwd=code,
        env={"PATH": os.environ["PATH"], "TMPDIR": "/tmp", "GREETING": "hello"},
        stdin=subprocess.DEVNULL,
        pass_fds=(theirs.fileno(), log_end, memory),
        start_new_session=True,
    )
    theirs.close()
    os.close(log_end)
    try:
        yield Commanded(process, ours, log, memory)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        process.wait()
        ours.close()
        os.close(log)
        os.close(memory)
