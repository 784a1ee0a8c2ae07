"""The serve loop of an async handler. Only instances that need asyncio import it; an event loop never crosses a fork.

Each call is a task. The loop keeps reading while handlers run, so a deadline arrives as a `cancel` frame: that call's
task is cancelled, its `finally` blocks run, and the process stays for the other calls and the next.

A reply is written at once, without waiting. What the socket does not take stays in a queue and leaves as the server
reads, so a large reply delays neither the other calls nor the order of the frames.
"""

import asyncio
import contextlib
import os
import select
import socket
from collections import deque
from collections.abc import Coroutine, Sequence
from typing import Any

from . import handler, invocation, logs, tidying, wire
from .appeared import Watch
from .attributing import attributing
from .current import CALL, Call
from .orphans import REAP_EVERY_S, Orphans
from .warmup import Empty

_TASK_STACK_BYTES = 8 * 1024
"""The limit of one task's stack in the stack file."""


def serve(
    function: "handler.Function",
    connection: socket.socket,
    log: int,
    memory: int,
    orphans: Orphans,
    *,
    watch: "Watch | None" = None,
    empty: "Empty | None" = None,
    calls: "int | None" = None,
) -> None:
    """Answer calls until end of file, or so many `calls`, then run the `stop` hook.

    `empty`: a call to run before the first one; `memory`: the file for the stack of an overdue call. With a `watch`,
    the first reply of a handler that succeeds follows what it has seen.
    """
    with attributing() if function.concurrency > 1 else contextlib.nullcontext():
        asyncio.run(_Async(function, connection, log, memory, orphans, watch=watch).serve(empty, calls))


class _Async:
    """Runs each call as a task; writes replies whole, in the order in which the calls end."""

    def __init__(
        self,
        function: "handler.Function",
        connection: socket.socket,
        log: int,
        memory: int,
        orphans: Orphans,
        *,
        watch: "Watch | None",
    ) -> None:
        self._function = function
        self._left: int | None = None
        """How many more calls may end before this instance ends by itself; None: any number."""
        self._has_several = function.concurrency > 1
        self._is_measured = False
        """whether the CPU time of each call is known, see attributing.py"""
        self._orphans = orphans
        self._is_reaping = False
        self._connection = connection
        self._log = log
        self._stack = memory
        self._watch = watch
        self._stacks: dict[int, bytes] = {}
        """of the overdue calls, each with its mark"""
        self._frames = wire.Frames()
        self._calls: dict[int, Call] = {}
        self._unsent: deque[memoryview] = deque()

    async def serve(self, empty: "Empty | None", calls: "int | None") -> None:
        """Read until the server closes its end, which it does after the last reply; then run the `stop` hook.

        `asyncio.run` cancels the tasks that the handler has left behind.
        """
        self._left = calls
        self._loop = loop = asyncio.get_running_loop()
        self._connection.setblocking(False)
        self._ended: asyncio.Future[None] = loop.create_future()
        if empty is not None:
            await self._warm(empty)
        loop.add_reader(self._connection, self._readable)
        self._is_measured = self._has_several and isinstance(loop, asyncio.BaseEventLoop)
        os.register_at_fork(after_in_child=lambda: _part_from(loop))
        await self._ended
        loop.remove_reader(self._connection)
        await self._function.arun_hook("stop")

    async def _warm(self, empty: Empty) -> None:
        """Run an empty call, all but the read and the write."""
        self._frames.feed(empty.frame)
        head, body = self._frames.next() or ({}, b"")
        reply = await self._loop.create_task(invocation.arun(empty.function, head, body, lambda: False))
        reply.pack(logs.has_unread(self._log))

    def _readable(self) -> None:
        try:
            count = self._frames.read(self._connection.fileno())
        except BlockingIOError:
            return
        except ConnectionError:
            count = 0
        if not count:
            self._end()
            return
        while (frame := self._frames.next()) is not None:
            self._take(*frame)

    def _take(self, head: "dict[str, Any]", body: bytes) -> None:
        i = head["i"]
        if head["t"] == "invoke":
            self._calls[i] = call = Call(i)
            if not self._has_several:
                call.task = self._begin(self._answer(call, head, body))
                return
            token = CALL.set(call)  # the task copies this context, and so does all that it makes
            call.task = self._loop.create_task(self._answer(call, head, body))
            CALL.reset(token)
        elif head["t"] == "cancel" and i in self._calls:  # other frames are for streams, which no call asks for yet
            self._cancel(self._calls[i])
        elif head["t"] == "tidy" and not self._calls:
            tidying.tidy(self._connection.fileno())

    def _begin(self, answer: "Coroutine[Any, Any, None]") -> "asyncio.Task[None]":
        """A task that has run its first step, in which many a handler ends: it saves a turn of the event loop.

        Python offers this since 3.12 (`eager_start`). Before and since, asyncio's own loop has the step as the last
        of its ready handles. No other call runs whose turn it would be.
        """
        ready = getattr(self._loop, "_ready", None)
        waiting = -1 if ready is None else len(ready)
        task = self._loop.create_task(answer)
        if ready is not None and len(ready) == waiting + 1:  # else another kind of loop, or of task
            ready.pop()._run()
        return task

    def _cancel(self, call: Call) -> None:
        """Interrupt an overdue call. Its stack comes first: the server reads it if the task ignores this."""
        call.is_overdue = True
        if call.task is not None and call.has_begun:  # cancelled before its first step, a task would never reply
            self._stacks[call.i] = call.mark.encode() + _stack_of(call.task)
            room = wire.MEMORY_BYTES - wire.TASKS_AT
            os.pwrite(self._stack, b"".join(self._stacks.values())[:room].ljust(room, b"\0"), wire.TASKS_AT)
            call.task.cancel()

    async def _answer(self, call: Call, head: "dict[str, Any]", body: bytes) -> None:
        call.has_begun = True
        clock = call.used_ns if self._is_measured else None
        reply = await invocation.arun(self._function, head, body, call.expired, clock)
        del self._calls[call.i]  # a `cancel` comes too late from here on
        self._stacks.pop(call.i, None)
        call.task = None  # a thread that outlives the call keeps `call`
        if self._watch is not None and reply.is_ok:
            self._write(self._watch.frame())
            self._watch = None
        self._write(reply.pack(logs.has_unread(self._log)))
        if self._left is not None:
            self._count_down()
        if self._orphans.may_exist and not self._is_reaping:
            self._reap()

    def _count_down(self) -> None:
        """End by itself after the last call. If the socket has not taken all of the reply, the server ends it later."""
        assert self._left is not None
        self._left -= 1
        if self._left == 0 and not self._unsent:
            self._end()

    def _end(self) -> None:
        if not self._ended.done():
            self._ended.set_result(None)

    def _reap(self) -> None:
        self._is_reaping = self._orphans.reap()
        if self._is_reaping:
            self._loop.call_later(REAP_EVERY_S, self._reap)

    def _write(self, pieces: "list[bytes]") -> None:
        """Send what the socket takes now, and the rest as the server reads."""
        sent = 0 if self._unsent else self._send(pieces)
        for piece in pieces:
            if sent < len(piece):
                self._unsent.append(memoryview(piece)[sent:])
            sent = max(0, sent - len(piece))
        if self._unsent:
            self._loop.add_writer(self._connection, self._write_rest)

    def _write_rest(self) -> None:
        """Send once, so that the handlers that run have their turn in between."""
        piece = self._unsent.popleft()
        sent = self._send([piece])
        if sent < len(piece):
            self._unsent.appendleft(piece[sent:])
        elif not self._unsent:
            self._loop.remove_writer(self._connection)

    def _send(self, pieces: "Sequence[bytes | memoryview]") -> int:
        """How many bytes the socket took; all of them if the server is gone, which the next read notices."""
        try:
            if len(pieces) == 1:
                return self._connection.send(pieces[0])
            return self._connection.sendmsg(pieces[: wire.MAX_PIECES])
        except BlockingIOError:
            return 0
        except ConnectionError:
            return sum(map(len, pieces))


def _part_from(loop: asyncio.AbstractEventLoop) -> None:
    """In a child of the handler, replace the epoll of the loop, which it shares with its parent, by an empty one.

    Otherwise the child would read its parent's data while it awaits something.
    """
    selector = getattr(loop, "_selector", None)  # loops other than asyncio's own have to handle forks themselves
    if selector is not None:
        with contextlib.suppress(OSError, ValueError), select.epoll() as own:
            os.dup2(own.fileno(), selector.fileno(), inheritable=False)
    mine = CALL.get()
    if mine is not None:  # the steps and timers of the other calls run in the parent, not here, too
        for handle in (*getattr(loop, "_ready", ()), *getattr(loop, "_scheduled", ())):
            if handle._context.get(CALL) is not mine:
                handle.cancel()
    logs.MarkedStream.part()


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
    return text.encode(errors="backslashreplace")[:_TASK_STACK_BYTES]
