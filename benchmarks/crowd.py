"""`python -m benchmarks.crowd PORT PATH COUNT`: a client that sends COUNT requests at the same moment.

Each has a connection of its own. The command prints a line when all are open, sends when it gets one, and prints what
it got as JSON, once all have been answered.
"""

import json
import resource
import selectors
import socket
import subprocess
import sys
import time
from typing import Any, NamedTuple

_LIMIT_S = 60.0


class Answers(NamedTuple):
    """Times are those of CLOCK_MONOTONIC; `bodies` are of JSON. Any answer other than 200 has failed."""

    sent_ns: int
    last_ns: int
    bodies: list[dict[str, Any]]
    failed: int


class Crowd:
    """The command in a process of its own. All its connections are open."""

    def __init__(self, port: int, path: str, count: int) -> None:
        argv = [sys.executable, "-m", "benchmarks.crowd", str(port), path, str(count)]
        self._process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self._process.stdout.readline()

    def send(self) -> None:
        """Let all requests go."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def answers(self) -> Answers:
        """Wait for all."""
        out, _ = self._process.communicate(timeout=_LIMIT_S + 10)
        return Answers(**json.loads(out))


def raise_file_limit() -> None:
    """For the connections of this process, and of servers that it starts."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _ask(clients: list[socket.socket], request: bytes) -> Answers:
    by_fd = {client.fileno(): client for client in clients}
    left = selectors.DefaultSelector()
    sent_ns = time.monotonic_ns()
    for client in clients:
        client.sendall(request)
        left.register(client, selectors.EVENT_READ)
    bodies: list[dict[str, Any]] = []
    while left.get_map():
        ready = left.select(_LIMIT_S)
        if not ready:
            break
        for key, _ in ready:
            left.unregister(key.fileobj)
            head, _, body = by_fd[key.fd].recv(64 * 1024).partition(b"\r\n\r\n")
            if head.startswith(b"HTTP/1.1 200 "):
                bodies.append(json.loads(body or by_fd[key.fd].recv(64 * 1024)))
    return Answers(sent_ns, time.monotonic_ns(), bodies, len(clients) - len(bodies))


def _main() -> None:
    port, path, count = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    raise_file_limit()
    clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(count)]
    print("connected", flush=True)
    sys.stdin.readline()
    print(json.dumps(_ask(clients, f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())._asdict()))


if __name__ == "__main__":
    _main()
