"""The server's half of the forwarder, the process that connects boxes to the places that their functions may reach.

Theory of operation. It is a process of its own, so that bytes on their way delay no event, and so that it is no more
than it has to be: it runs none of a function's code and has no right and no secret, but the network of the server. It
starts with the first box that needs it. If it dies, its connections are lost, as by a failure of the network, and
another takes its place: the server keeps the sockets that listen.
"""

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import anyio
import anyio.abc
from msgspec import Struct

from sandbox import processes
from sandbox.backoff import Backoff
from sandbox.channels import close_all
from sandbox.containment import Endpoint
from sandbox.control import Control, Message
from sandbox.endings import ending
from sandbox.errors import Ended, StartFailed
from sandbox.guest._forklight.wire import MAX_DESCRIPTORS
from sandbox.launch import LOG_BYTES, Account, Spawned, become_helper
from sandbox.log_lines import LogLine
from sandbox.logs import LogPipe, LogTurns
from sandbox.network import Door
from sandbox.spec import Runtime

log = logging.getLogger(__name__)

START_LIMIT_S = 10.0
REQUEST_LIMIT_S = 5.0
"""For what takes a millisecond."""


class _Box(Struct, frozen=True):
    """What the forwarder has to know of one box."""

    function: str
    runtime: Runtime
    places: tuple[Endpoint, ...]
    sockets: tuple[int, ...]
    """our copies of those that listen, each for the place at the same index"""


class Forwarding:
    """The boxes whose connections are forwarded, and the process that does it."""

    def __init__(
        self, account: Account, guest: Path, tasks: anyio.abc.TaskGroup, turns: LogTurns, number: Callable[[], int]
    ) -> None:
        """`number` gives numbers that were never given before."""
        self._account = account
        self._guest = guest
        self._tasks = tasks
        self.turns = turns
        self._number = number
        self._boxes: dict[int, _Box] = {}
        self._process: _Process | None = None
        self._turn = anyio.Lock()
        self._is_closed = False

    @property
    def rss_kb(self) -> int:
        """The memory of the process; 0 without one."""
        return 0 if self._process is None else processes.memory_kb(self._process.pid) or 0

    async def open(self, function: str, runtime: Runtime, doors: Sequence[Door], sockets: Sequence[int]) -> int:
        """Forward what connects to these sockets, which are ours from now on; returns the number for `release`.

        Raises StartFailed.
        """
        n = self._number()
        self._boxes[n] = _Box(function, runtime, tuple(door.to for door in doors), tuple(sockets))
        try:
            async with self._turn:
                process = await self._started(runtime)
                await process.forward(n, self._boxes[n])
        except BaseException as error:
            self.release(n)
            if isinstance(error, Ended | OSError):
                raise StartFailed(f"nothing forwards the connections of {function!r}: {error}") from None
            raise
        return n

    def release(self, n: int) -> None:
        """The box has ended: close its sockets and its connections."""
        box = self._boxes.pop(n, None)
        if box is not None:
            close_all(box.sockets)
            if self._process is not None:
                self._process.release(n)

    async def close(self) -> None:
        """End the process."""
        self._is_closed = True
        for n in tuple(self._boxes):
            self.release(n)
        if self._process is not None:
            await self._process.stop()

    async def _started(self, runtime: Runtime) -> "_Process":
        """The process that runs, or a new one. Raises Ended and OSError."""
        if self._process is None:
            self._process = _Process(runtime, self._guest, self._account, self)
            await self._process.start()
        return self._process

    def unreachable(self, n: int | None, text: str) -> None:
        """A connection of this box came to nothing."""
        box = None if n is None else self._boxes.get(n)
        if box is not None:
            self._log(box, f"it cannot reach {text}")

    def ended(self, process: "_Process", reason: str) -> None:
        """The process is dead. If boxes need one, the next one takes over."""
        if self._process is process:
            self._process = None
        if self._boxes and not self._is_closed:
            for box in {one.function: one for one in self._boxes.values()}.values():
                self._log(box, f"its connections are lost, because the process that forwards them has ended: {reason}")
            self._tasks.start_soon(self._renew)

    async def _renew(self) -> None:
        backoff = Backoff()
        while self._boxes and not self._is_closed:
            try:
                async with self._turn:
                    process = await self._started(next(iter(self._boxes.values())).runtime)
                    for n, box in tuple(self._boxes.items()):
                        await process.forward(n, box)
            except (Ended, OSError) as error:
                log.warning("connections cannot be forwarded: %s", error)
                backoff = backoff.failed(time.monotonic_ns())
                await anyio.sleep(backoff.remaining_s(time.monotonic_ns()))
            else:
                return

    def _log(self, box: _Box, text: str) -> None:
        self.turns.sink(LogLine(box.function, "", None, f"[forklight] {text}", "warning"))


class _Process:
    """One forwarder."""

    def __init__(self, runtime: Runtime, guest: Path, account: Account, owner: Forwarding) -> None:
        """`runtime`: its interpreter runs this, too, because it is readable for everybody. Raises OSError."""
        bare = Runtime(name="forwarder", python=runtime.python)
        spawned = Spawned(bare, guest, become_helper(account), "forward", shares_input=False)
        self.pid, self._pidfd, self._lifeline = spawned.pid, spawned.pidfd, spawned.lifeline
        self._owner = owner
        self._gone = anyio.Event()
        self._log = LogPipe(spawned.log, "", "forwarder", LOG_BYTES, owner.turns)
        self._control = Control(spawned.socket, self._on_message, self._on_control_end)
        asyncio.get_running_loop().add_reader(self._pidfd, self._died)

    async def start(self) -> None:
        """Wait until it runs. Raises Ended."""
        await self._control.request({"t": "start", "n": 0}, limit_s=START_LIMIT_S)

    async def forward(self, n: int, box: _Box) -> None:
        """Have it forward for this box, too. Raises Ended."""
        for at in range(0, len(box.sockets), MAX_DESCRIPTORS):
            part = slice(at, at + MAX_DESCRIPTORS)
            request = {"t": "forward", "n": n, "to": [[place.host, place.port] for place in box.places[part]]}
            await self._control.request(request, box.sockets[part], limit_s=REQUEST_LIMIT_S)

    def release(self, n: int) -> None:
        """It is to forget a box."""
        with contextlib.suppress(Ended):
            self._control.post({"t": "release", "n": n})

    async def stop(self) -> None:
        """Have it end; kill it if that takes too long."""
        self._control.close("stopped")
        with anyio.move_on_after(REQUEST_LIMIT_S):
            await self._gone.wait()
        if not self._gone.is_set():
            processes.kill(self._pidfd)
            await self._gone.wait()

    def _on_message(self, message: Message) -> None:
        if message.t == "unreachable":
            self._owner.unreachable(message.n, message.message)

    def _on_control_end(self, _reason: str) -> None:
        processes.kill(self._pidfd)

    def _died(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pidfd)
        self._control.close("it died")
        self._log.close()
        _, status = os.waitpid(self.pid, 0)
        close_all((self._pidfd, self._lifeline))
        self._gone.set()
        self._owner.ended(self, ending(os.waitstatus_to_exitcode(status)))
