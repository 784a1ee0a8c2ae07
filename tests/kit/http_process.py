"""The http trigger in a process of its own, under uvloop as in `serve`, on a port and on a unix socket at once.

A fault that stops the event loop must stop neither the test nor its clock. `python -m tests.kit.http_process
/path/of.sock` prints its port when it listens and ends when its standard input does.
"""

import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any

import uvloop

from tests.kit.http_server import ROUTES, running
from triggers.http import HttpSettings, Route

Address = tuple[str, int] | str


class HttpProcess:
    """A running trigger: where it listens, and what it costs."""

    def __init__(self, process: "subprocess.Popen[str]", path: Path) -> None:
        assert process.stdout is not None
        self.pid = process.pid
        self.addresses: dict[str, Address] = {"tcp": ("127.0.0.1", int(process.stdout.readline())), "unix": str(path)}

    def connect(self, kind: str, timeout_s: float = 10.0) -> socket.socket:
        connection = socket.socket(socket.AF_INET if kind == "tcp" else socket.AF_UNIX)
        connection.settimeout(timeout_s)
        connection.connect(self.addresses[kind])
        return connection

    def resident_bytes(self) -> int:
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * 4096


@contextmanager
def http_process(path: Path, **settings: float) -> Iterator[HttpProcess]:
    """Kill the process at the end: it may not react to anything else by then."""
    command = (sys.executable, "-m", "tests.kit.http_process", str(path), json.dumps(settings))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield HttpProcess(process, path)
        finally:
            process.kill()


class Forgetful(list[Any]):
    def append(self, _item: Any) -> None:
        """Remembers nothing."""


async def main(path: str, given: dict[str, Any]) -> None:
    routes = (*ROUTES, Route(function="large", path="/large", max_body_bytes=64 * 1024 * 1024))
    async with AsyncExitStack() as stack:
        tcp = await stack.enter_async_context(
            running(routes=routes, settings=HttpSettings(listen="127.0.0.1:0", **given))
        )
        unix = await stack.enter_async_context(
            running(routes=routes, settings=HttpSettings(listen=f"unix:{path}", **given))
        )
        for house in (tcp, unix):
            house.record = Forgetful()  # what tests remember of requests would be taken for a leak
            house.log = Forgetful()
            house.functions.events = Forgetful()
        sys.stdout.write(f"{tcp.server.port}\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], json.loads(sys.argv[2])))
