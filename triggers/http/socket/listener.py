"""Accepts connections, runs a task for each, ends overdue ones, and drains."""

import logging
from asyncio import AbstractServer, get_running_loop
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from socket import socket

import anyio

from bus.in_flight import InFlight
from triggers.http.answers import Answer
from triggers.http.settings import HttpSettings
from triggers.http.socket.bind import bind, identity_of, port_of, unix_path
from triggers.http.socket.connection import Connection
from triggers.http.socket.connections import Connections
from triggers.http.socket.errands import Errand
from triggers.http.socket.retire import retire
from triggers.http.stamps import Stamps

log = logging.getLogger(__name__)

_LAST_REQUESTS_S = 1.0
"""In a drain, how long open connections may still send a request, whose answer then has `Connection: close`."""

_FLUSH_S = 1.0
"""After that, how long slow clients have to read the last answers."""

_LONGEST_SWEEP_S = 1.0


class Listener:
    """`port` is 0 for a unix socket."""

    def __init__(
        self,
        settings: HttpSettings,
        stamps: Stamps,
        serve: Callable[[Connection], Errand | None],
        *,
        turn_away: Callable[[str, Answer], Answer],
        given: socket | None,
    ) -> None:
        """`serve` and `turn_away` are those of `Connections`."""
        self.port = 0
        self.connections = Connections(
            settings, stamps, get_running_loop().time, turn_away, start=self._start, serve=serve
        )
        self._settings = settings
        self._given = given
        self._serving = InFlight()
        self._server: AbstractServer

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Listen inside the context; leaving it cuts off what `drain` has not ended. Raises ListenError."""
        self._server = await bind(self._settings, self.connect, self._given)
        self.port = port_of(self._server)
        path = unix_path(self._settings.listen) if self._given is None else None
        made = identity_of(path)
        async with anyio.create_task_group() as self._tasks:
            self._sweep()
            try:
                await self._server.start_serving()
                yield
            finally:
                with anyio.CancelScope(shield=True):
                    await self.drain(0)
                self._timer.cancel()
                if path is not None and identity_of(path) == made:  # a successor's socket stays
                    path.unlink(missing_ok=True)

    def connect(self) -> Connection:
        """Make the protocol of a new connection."""
        return Connection(self.connections, get_running_loop())

    async def drain(self, timeout_s: float) -> None:
        """Stop listening, answer further requests with `Connection: close`, then close idle connections.

        Calls have `timeout_s` in all; after that they are withdrawn and their clients get 503.
        """
        self.connections.draining = True
        await self._stop_listening()
        with anyio.move_on_after(timeout_s):
            with anyio.move_on_after(_LAST_REQUESTS_S):
                await self.connections.wait_empty()
            self.connections.retire()
            await self.connections.wait_empty()
        self.connections.cut()
        with anyio.move_on_after(_FLUSH_S):
            await self.connections.wait_empty()
            await self._serving.wait_none()
        self.connections.abort()
        await self.connections.wait_empty()

    async def _stop_listening(self) -> None:
        if not self._server.is_serving():
            return
        if self._given is None:
            await retire(self._server)
        else:  # its owner goes on listening, so connections not accepted yet are for the next server
            self._server.close()

    def _sweep(self) -> None:
        """Check all deadlines with one timer: a timer for each connection would cost every request two calls."""
        settings = self._settings
        shortest_s = min(
            settings.header_timeout_s, settings.body_timeout_s, settings.idle_timeout_s, settings.write_timeout_s
        )
        self._timer = get_running_loop().call_later(min(_LONGEST_SWEEP_S, shortest_s / 4), self._sweep)
        self.connections.sweep()

    def _start(self, connection: Connection) -> None:
        self._serving.begin()
        self._tasks.start_soon(self._attend, connection)

    async def _attend(self, connection: Connection) -> None:
        """The task of a connection: answer what has to wait for something. Losing the connection cancels it."""
        try:
            with connection.errands.scope:
                while await connection.wait_errand():
                    await _carry_out(connection)
        except Exception:
            log.exception("the http trigger failed on a connection")
            connection.fail()
        finally:
            self._serving.end()


async def _carry_out(connection: Connection) -> None:
    """A function of its own, so that no request or answer stays in memory while the task waits for the next one."""
    answer = await connection.take_errand()()
    try:
        await connection.finish(answer)
    finally:
        if answer.content is not None:
            answer.content.close()
