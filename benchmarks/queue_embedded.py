"""The embedded store as a load: filled before the server starts, then sent to over the control socket."""

import asyncio
import http.client
import json
import socket
import time
from pathlib import Path

from benchmarks.queue_peers import PADDING, QUEUE
from bus.message import Message, Outgoing
from bus.sqlite import open_sqlite
from forklight.serving.stores import FILE
from forklight.state.control_socket import socket_path

_GROUP = 500


async def fill(state: Path, count: int) -> None:
    """Publish into the store's file, which a server will open; the folder is there."""
    async with open_sqlite(state / FILE) as store:
        for begin in range(0, count, _GROUP):
            await store.publish([_outgoing(number) for number in range(begin, begin + _GROUP)])


def _outgoing(number: int) -> Outgoing:
    body = json.dumps({"n": number, "padding": PADDING}).encode()
    return Outgoing(queue=QUEUE, message=Message(id=str(number), body=body, content_type="application/json"))


class Control:
    """The server's control socket. Blocks, in a thread where it is awaited."""

    def __init__(self, state: Path) -> None:
        self._path = str(socket_path(state))

    async def depth(self) -> int:
        """How many messages the queue has to deliver; -1 before the server answers."""
        return await asyncio.to_thread(self._depth)

    async def pace(self, per_s: int, seconds: float) -> int:
        """Send one after the other at this rate, each with its time; how many."""
        return await asyncio.to_thread(self._pace, per_s, seconds)

    def _depth(self) -> int:
        try:
            connection = self._connect()
        except OSError:
            return -1
        connection.request("GET", "/queues", headers={"Host": "localhost"})
        statuses = json.loads(connection.getresponse().read())
        return int(next(status["ready"] for status in statuses if status["queue"] == QUEUE))

    def _pace(self, per_s: int, seconds: float) -> int:
        connection = self._connect()
        begin_ns, count = time.monotonic_ns(), int(per_s * seconds)
        headers = {"Host": "localhost", "Content-Type": "application/json"}
        for number in range(count):
            due_ns = begin_ns + number * 1_000_000_000 // per_s
            time.sleep(max(0.0, (due_ns - time.monotonic_ns()) / 1e9))
            body = json.dumps({"at_ns": time.monotonic_ns(), "padding": PADDING})
            connection.request("POST", f"/send?queue={QUEUE}", body, headers)
            answer = connection.getresponse()
            answer.read()
            assert answer.status < 300, answer.status
        return count

    def _connect(self) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("localhost")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(self._path)
        return connection
