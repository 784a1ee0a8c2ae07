"""The http trigger at work: each request becomes an event, goes over the bus, and its outcome becomes the answer."""

import logging
import time
from asyncio import CancelledError, get_running_loop
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from socket import socket
from typing import Self

import anyio
import anyio.to_thread
from aiohttp import http_parser
from msgspec.structs import replace

from bus.bus import Bus
from bus.event import Event
from bus.in_flight import InFlight
from bus.invocation import CLIENT_LEFT
from bus.outcome import Failed, Outcome
from triggers.http.answers import Answer
from triggers.http.codec import hint_of_form, to_answer, to_event
from triggers.http.errors import ParserError, RefusedError
from triggers.http.exchange import Exchange
from triggers.http.files.static import answer_file, redirect
from triggers.http.head import Head, expects_continue, parse_head
from triggers.http.policy.cors import across, preflight, requested_method
from triggers.http.policy.keys import Keys
from triggers.http.policy.proxies import Proxies
from triggers.http.problems import BROKEN, NOTHING, STOPPING, identified, no_route, refusal
from triggers.http.routes import Allowed, Match, RouteTable, StaticMatch
from triggers.http.settings import Cors, HttpSettings, Route
from triggers.http.socket.body import check_announced
from triggers.http.socket.connection import Connection
from triggers.http.socket.connections import Connections
from triggers.http.socket.intake import Request
from triggers.http.socket.listen import bind, identity_of, port_of, unix_path
from triggers.http.socket.retire import retire
from triggers.http.stamps import Stamps

log = logging.getLogger(__name__)

_LAST_REQUESTS_S = 1.0
"""In a drain, how long open connections may still send a request, which is then answered with `Connection: close`."""

_FLUSH_S = 1.0
"""After that, how long the last answers may take to reach clients that are slow to read."""


class HttpServer:
    """Assign `routes` at any time: each request is looked up once, in the table of that moment.

    Assign `stale` to say in each answer, in the header `X-Forklight-Stale`, why it is not what it should be by now: one
    line of ASCII, or nothing.
    """

    def __init__(
        self,
        bus: Bus,
        routes: RouteTable,
        settings: HttpSettings,
        *,
        given: socket | None = None,
        keys: Path | None = None,
        dev: bool = False,
    ) -> None:
        """`keys` is the file of keys for routes that want one; it may come, change and go.

        `given` is a listening socket, inherited or unix, to use instead of `settings.listen`.

        `dev`: tracebacks and messages of exceptions reach clients.
        """
        self.routes = routes
        self.stale = ""
        self.port = 0
        self._bus = bus
        self._settings = settings
        self._given = given
        self._keys = Keys(keys)
        self._proxies = Proxies(settings.trusted_proxies) if settings.trusted_proxies else None
        self._dev = dev
        self._stamps = Stamps()
        self._calls = InFlight()

    def __repr__(self) -> str:
        where = self._settings.listen if self._given is None else "a given socket"
        connections = getattr(self, "_connections", "not listening")
        return f"<HttpServer on {where}, {self._calls.count} in flight, {connections}>"

    @asynccontextmanager
    async def run(self) -> AsyncIterator[Self]:
        """Listens inside the context; leaving it cuts what `drain` has not ended. Raises HttpTriggerError."""
        require_c_parser()
        loop = get_running_loop()
        self._connections = Connections(self._settings, self._stamps, loop.time)
        self._connections.turn_away = self._turn_away
        self._listener = await bind(
            self._settings, lambda: Connection(self._connections, self._start, loop=loop), self._given
        )
        self.port = port_of(self._listener)
        path = unix_path(self._settings.listen) if self._given is None else None
        made = identity_of(path)
        async with anyio.create_task_group() as self._tasks:
            self._sweep()
            try:
                await self._listener.start_serving()
                yield self
            finally:
                with anyio.CancelScope(shield=True):
                    await self.drain(0)
                self._timer.cancel()
                if path is not None and identity_of(path) == made:  # not that of a successor
                    path.unlink(missing_ok=True)

    @property
    def connections(self) -> int:
        """How many are open now."""
        return len(self._connections)

    async def wait_unconnected(self) -> None:
        """Returns at a moment when no connection is open."""
        await self._connections.wait_empty()

    async def drain(self, timeout_s: float) -> None:
        """Stops listening, answers what still comes with `Connection: close`, then closes idle connections.

        What runs has `timeout_s` in all; after that its clients get 503 and it is withdrawn.
        """
        self._connections.draining = True
        await self._stop_listening()
        with anyio.move_on_after(timeout_s):
            with anyio.move_on_after(_LAST_REQUESTS_S):
                await self._connections.wait_empty()
            self._connections.retire()
            await self._connections.wait_empty()
        self._connections.cut()
        with anyio.move_on_after(_FLUSH_S):
            await self._connections.wait_empty()
            await self._calls.wait_none()
        self._connections.abort()
        await self._connections.wait_empty()

    async def _stop_listening(self) -> None:
        if not self._listener.is_serving():
            return
        if self._given is None:
            await retire(self._listener)
        else:  # whoever gave it goes on listening: what has not been accepted is for whom it is given to next
            self._listener.close()

    def _sweep(self) -> None:
        """One timer keeps the deadlines of all connections; a timer of its own would cost each request two calls."""
        settings = self._settings
        shortest_s = min(
            settings.header_timeout_s, settings.body_timeout_s, settings.idle_timeout_s, settings.write_timeout_s
        )
        self._timer = get_running_loop().call_later(min(1.0, shortest_s / 4), self._sweep)
        self._connections.sweep()

    def _start(self, connection: Connection) -> None:
        self._tasks.start_soon(self._serve, connection)

    async def _serve(self, connection: Connection) -> None:
        """The connection's task: answers its requests one after the other. Losing the connection cancels it."""
        with connection.scope:
            try:
                while await connection.ready():
                    answer = await self._next_answer(connection)
                    try:
                        await connection.finish(answer)
                    finally:
                        if answer.content is not None:
                            answer.content.close()
            except Exception:
                log.exception("the http trigger failed on a connection")
                connection.fail()

    async def _next_answer(self, connection: Connection) -> Answer:
        """The answer to the next request, which is recorded by then."""
        exchange = Exchange(connection.remote, time.monotonic_ns())
        try:
            request = connection.next_request()
            exchange.id = connection.request_id = self._stamps.invocation_id()
            connection.request_headers = ()
            exchange.method, exchange.path = request.message.method, request.message.path.partition("?")[0]
            answer = await self._answer(connection, request, exchange)
        except RefusedError as refused:
            if not exchange.method:
                exchange.method, exchange.path = refused.method, refused.target.partition("?")[0]
            answer = self._identified(refusal(refused), exchange)
        except CancelledError:
            if exchange.id:
                ending = (503, STOPPING) if self._connections.stopped else (CLIENT_LEFT, "left")
                self._bus.report(exchange.ended(*ending))
            raise
        except Exception:
            log.exception("the http trigger failed on a request")
            answer = self._identified(BROKEN, exchange)
        answer = connection.afford(answer)
        self._bus.report(exchange.ended(answer.status, answer.reason, answer.detail))
        if self.stale and self._settings.own_headers:
            answer = replace(answer, headers=(*answer.headers, ("x-forklight-stale", self.stale)))
        return answer

    async def _answer(self, connection: Connection, request: Request, exchange: Exchange) -> Answer:
        message = request.message
        head = parse_head(message.method, message.path, message.version, message.headers.items())
        scheme = "http"
        if self._proxies is not None:
            exchange.client, scheme, head = self._proxies.origin(exchange.client, head)
        found = self.routes.find(head.method, head.path)
        if not isinstance(found, Match):
            answer = self._identified(await self._without_function(head, found), exchange)
            cors = self._cors_of(head, found) if isinstance(found, Allowed) and answer.status == 405 else None
            return answer if cors is None else across(answer, head, cors)
        route = found.route
        if route.cors is not None:
            if (preflighted := self._preflight(head)) is not None:
                return self._identified(preflighted, exchange)
            connection.request_headers = across(NOTHING, head, route.cors).headers
        try:
            if route.auth is not None:
                head = self._keys.admit(head)
            body = b""
            if request.length != 0:
                check_announced(request.length, route.max_body_bytes)
                body = await connection.read_body(request, route.max_body_bytes, asked=expects_continue(head.headers))
            event = to_event(
                head,
                found,
                body,
                remote=exchange.client,
                scheme=scheme,
                invocation_id=exchange.id,
                time=self._stamps.time(),
            )
            connection.request_id = event.id
            answer = await self._call(event, route, exchange)
        except RefusedError as refused:
            answer = self._identified(refusal(refused), exchange)
        except Exception:
            log.exception("the http trigger failed on a request")
            answer = self._identified(BROKEN, exchange)
        return answer if route.cors is None else across(answer, head, route.cors)

    def _identified(self, answer: Answer, exchange: Exchange) -> Answer:
        """With the id under which the record has it."""
        if not exchange.id:
            exchange.id = self._stamps.invocation_id()
        return identified(answer, exchange.id, self._settings)

    def _turn_away(self, client: str, answer: Answer) -> Answer:
        """What a connection says to a client for which it has no task."""
        exchange = Exchange(client, time.monotonic_ns())
        answer = self._identified(answer, exchange)
        self._bus.report(exchange.ended(answer.status, answer.reason, answer.detail))
        return answer

    async def _without_function(self, head: Head, found: StaticMatch | Allowed | None) -> Answer:
        if not isinstance(found, StaticMatch):
            return self._preflight(head) or no_route(head.method, found)
        if found.rest is None:
            return redirect(head)
        return await anyio.to_thread.run_sync(answer_file, found.route, found.rest, head)

    def _preflight(self, head: Head) -> Answer | None:
        """The answer to a browser that asks what it may send; None: it does not, or of a route without CORS."""
        method = requested_method(head)
        wanted = self.routes.find(method, head.path) if method is not None else None
        if isinstance(wanted, Match) and wanted.route.cors is not None:
            return preflight(head, wanted.route, wanted.route.cors)
        return None

    def _cors_of(self, head: Head, allowed: Allowed) -> Cors | None:
        """What pages of other origins may see of a path that does not take this method: as its first route has it."""
        for method in allowed.methods:
            found = self.routes.find(method, head.path)
            if isinstance(found, Match) and found.route.cors is not None:
                return found.route.cors
        return None

    async def _call(self, event: Event, route: Route, exchange: Exchange) -> Answer:
        exchange.event, exchange.id = event, event.id
        self._calls.begin()
        try:
            if route.timeout_s is None:
                outcome = await self._bus.call(event)
            else:
                outcome = await self._call_within(event, route.timeout_s)
        finally:
            self._calls.end()
        exchange.outcome = outcome
        hint = hint_of_form(event) if self._dev else ""
        return to_answer(outcome, event.id, dev=self._dev, hint=hint, own_headers=self._settings.own_headers)

    async def _call_within(self, event: Event, timeout_s: float) -> Outcome:
        with anyio.move_on_after(timeout_s):
            return await self._bus.call(event)
        return Failed(kind="timeout", code="Timeout", message=f"no outcome within the route's {timeout_s:g} s")


def require_c_parser() -> None:
    """Raises ParserError on aiohttp's pure-Python parser, where most of its request smuggling bugs have been."""
    if http_parser.HttpRequestParser is http_parser.HttpRequestParserPy:
        raise ParserError("aiohttp has no C parser here: install its wheel, and unset AIOHTTP_NO_EXTENSIONS")
