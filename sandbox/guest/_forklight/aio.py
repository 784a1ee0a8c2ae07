"""The serve loop of an async handler. Only instances that need asyncio import it; an event loop never crosses a fork.

The loop keeps reading while a handler runs, so a deadline arrives as a `cancel` frame: the task is cancelled, its
`finally` blocks run, and the process stays for the next event.
"""

import asyncio
import contextlib
import os
import select
import socket
from typing import Any

from . import handler, invocation, logs, wire
from .orphans import REAP_EVERY_S, Orphans

_STACK_BYTES = 64 * 1024
"""The size of the stack file, which is sealed."""


def serve(function: "handler.Function", connection: socket.socket, log: int, stack: int, orphans: Orphans) -> None:
    """Answer calls until end of file, then run the `stop` hook. `stack`: the file for the stack of an overdue call."""
    asyncio.run(_Async(function, connection, log, stack, orphans).serve())


class _Async:
    """Runs each call as a task; writes replies whole, one at a time."""

    def __init__(
        self, function: "handler.Function", connection: socket.socket, log: int, stack: int, orphans: Orphans
    ) -> None:
        self._function = function
        self._orphans = orphans
        self._is_reaping = False
        self._connection = connection
        self._log = log
        self._stack = stack
        self._frames = wire.Frames()
        self._calls: dict[int, asyncio.Task[None]] = {}
        self._expired: set[int] = set()
        self._writing = asyncio.Lock()

    async def serve(self) -> None:
        """Read until the server closes its end; `asyncio.run` then cancels the open calls."""
        loop = asyncio.get_running_loop()
        self._connection.setblocking(False)
        ended: asyncio.Future[None] = loop.create_future()
        loop.add_reader(self._connection, self._readable, ended)
        os.register_at_fork(after_in_child=lambda: _part_from(loop))
        await ended
        loop.remove_reader(self._connection)
        await self._function.arun_hook("stop")

    def _readable(self, ended: "asyncio.Future[None]") -> None:
        try:
            data = self._connection.recv(64 * 1024)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        if not data:
            if not ended.done():
                ended.set_result(None)
            return
        self._frames.feed(data)
        while (frame := self._frames.next()) is not None:
            self._take(*frame)

    def _take(self, head: "dict[str, Any]", body: bytes) -> None:
        i = head["i"]
        if head["t"] == "invoke":
            self._calls[i] = asyncio.get_running_loop().create_task(self._answer(i, head, body))
        elif head["t"] == "cancel" and i in self._calls:
            self._expired.add(i)
            os.pwrite(self._stack, _stack_of(self._calls[i]), 0)  # the server reads it if the task ignores this
            self._calls[i].cancel()

    async def _answer(self, i: int, head: "dict[str, Any]", body: bytes) -> None:
        reply = await invocation.arun(self._function, head, body, lambda: i in self._expired)
        del self._calls[i]  # a `cancel` comes too late from here on, and must not interrupt the reply
        self._expired.discard(i)
        pieces = reply.pack(logs.has_unread(self._log))
        async with self._writing:
            for piece in pieces:
                await self._send(piece)
        if self._orphans.may_exist and not self._is_reaping:
            self._reap()

    def _reap(self) -> None:
        self._is_reaping = self._orphans.reap()
        if self._is_reaping:
            asyncio.get_running_loop().call_later(REAP_EVERY_S, self._reap)

    async def _send(self, piece: bytes) -> None:
        try:
            sent = self._connection.send(piece)
        except BlockingIOError:
            sent = 0
        except ConnectionError:
            return
        if sent < len(piece):
            try:
                await asyncio.get_running_loop().sock_sendall(self._connection, memoryview(piece)[sent:])
            except ConnectionError:
                return


def _part_from(loop: asyncio.AbstractEventLoop) -> None:
    """In a child of the handler, replace the epoll of the loop, which it shares with its parent, by an empty one.

    Otherwise the child would read its parent's data while it awaits something.
    """
    selector = getattr(loop, "_selector", None)  # loops other than asyncio's own have to handle forks themselves
    if selector is not None:
        with contextlib.suppress(OSError, ValueError), select.epoll() as own:
            os.dup2(own.fileno(), selector.fileno(), inheritable=False)


def _stack_of(task: "asyncio.Task[None]") -> bytes:
    """The stack of a task in the format of faulthandler, which itself sees only the event loop of the thread."""
    lines = []
    awaited: Any = task.get_coro()
    while awaited is not None:
        frame = getattr(awaited, "cr_frame", None) or getattr(awaited, "ag_frame", None)
        if frame is not None:
            lines.append(f'  File "{frame.f_code.co_filename}", line {frame.f_lineno} in {frame.f_code.co_name}\n')
        awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "ag_await", None)
    text = "Task of the handler (most recent call first):\n" + "".join(reversed(lines))
    return text.encode(errors="backslashreplace")[:_STACK_BYTES].ljust(_STACK_BYTES, b"\0")
