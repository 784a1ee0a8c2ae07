"""Answers requests: finds the route, makes an event, awaits its outcome on the bus, and reports what happened."""

import logging
import time
from asyncio import CancelledError
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
from bus.invocation import CLIENT_LEFT
from bus.outcome import Failed, Outcome
from triggers.http.answers import Answer
from triggers.http.codec import hint_of_form, to_answer, to_event
from triggers.http.errors import ParserError, RefusedError
from triggers.http.exchange import Exchange
from triggers.http.files.static import answer_file, redirect
from triggers.http.head import Head, expects_continue, parse_head
from triggers.http.policy.cors import preflight, requested_method, with_cors
from triggers.http.policy.keys import Keys, without_key
from triggers.http.policy.proxies import Proxies
from triggers.http.policy.scopes import require
from triggers.http.problems import BROKEN, NOTHING, STOPPING, identified, no_route, refusal
from triggers.http.routes import Allowed, Match, RouteTable, StaticMatch
from triggers.http.settings import Cors, HttpSettings, Route
from triggers.http.socket.body import check_announced
from triggers.http.socket.connection import Connection
from triggers.http.socket.intake import Request
from triggers.http.socket.listener import Listener
from triggers.http.stamps import Stamps

log = logging.getLogger(__name__)


class HttpServer:
    """Assign `routes` at any time: each request is looked up once, in the current table.

    Assign `stale`, one line of ASCII, to explain in every answer (`X-Forklight-Stale`) why it may be outdated.
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
        """`keys` is the keys file for routes that require a key. It may appear, change and vanish at any time.

        `given` is a listening socket to use instead of `settings.listen`.

        `dev`: answers contain tracebacks and messages of exceptions.
        """
        self.routes = routes
        self.stale = ""
        self._bus = bus
        self._settings = settings
        self._given = given
        self._keys = Keys(keys)
        self._proxies = Proxies(settings.trusted_proxies) if settings.trusted_proxies else None
        self._dev = dev
        self._stamps = Stamps()

    def __repr__(self) -> str:
        where = self._settings.listen if self._given is None else "a given socket"
        connections = self._listener.connections if hasattr(self, "_listener") else "not listening"
        return f"<HttpServer on {where}, {connections}>"

    @asynccontextmanager
    async def run(self) -> AsyncIterator[Self]:
        """Listen inside the context; leaving it cuts off what `drain` has not ended. Raises HttpTriggerError."""
        require_c_parser()
        self._listener = Listener(
            self._settings, self._stamps, self._next_answer, turn_away=self._turn_away, given=self._given
        )
        async with self._listener.run():
            yield self

    @property
    def port(self) -> int:
        """The port it listens on; 0 for a unix socket."""
        return self._listener.port

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._listener.connections)

    async def wait_unconnected(self) -> None:
        """Return at a moment when no connection is open."""
        await self._listener.connections.wait_empty()

    async def drain(self, timeout_s: float) -> None:
        """Stop listening, and end all connections within `timeout_s` and about a second (`Listener.drain`)."""
        await self._listener.drain(timeout_s)

    async def _next_answer(self, connection: Connection) -> Answer:
        """Take the next request of a connection, report it, and return its answer."""
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
            # The client left, or the server cut the connection off: no answer of this task, but a record.
            if exchange.id:
                ending = (503, STOPPING) if self._listener.connections.stopped else (CLIENT_LEFT, "left")
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
        if self._proxies is not None:  # first, so that even a 404 is recorded with the client's own address
            exchange.client, scheme, head = self._proxies.origin(exchange.client, head)
        found = self.routes.find(head.method, head.path)
        if not isinstance(found, Match):
            answer = self._identified(await self._without_function(head, found), exchange)
            cors = self._cors_of(head, found) if isinstance(found, Allowed) and answer.status == 405 else None
            return answer if cors is None else with_cors(answer, head, cors)
        route = found.route
        if route.cors is not None:
            if (preflighted := self._preflight(head)) is not None:
                return self._identified(preflighted, exchange)
            # So that pages can also read a 503 that the connection writes itself.
            connection.request_headers = with_cors(NOTHING, head, route.cors).headers
        try:
            holder = None
            if route.auth is not None:
                holder = self._keys.holder(head.headers, route.scopes)
                exchange.key = holder.name
                require(holder.scopes, route.scopes)
                head = without_key(head)
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
                holder=holder,
            )
            connection.request_id = event.id  # a CloudEvent brings its own
            answer = await self._call(event, route, exchange)
        except RefusedError as refused:
            answer = self._identified(refusal(refused), exchange)
        except Exception:
            log.exception("the http trigger failed on a request")
            answer = self._identified(BROKEN, exchange)
        return answer if route.cors is None else with_cors(answer, head, route.cors)

    def _identified(self, answer: Answer, exchange: Exchange) -> Answer:
        """Add the id that the record of the request has."""
        if not exchange.id:
            exchange.id = self._stamps.invocation_id()
        return identified(answer, exchange.id, self._settings)

    def _turn_away(self, client: str, answer: Answer) -> Answer:
        """Report a connection that was not admitted, and return the answer with an id."""
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
        """The answer to a preflight; None if the request is not one or the route has no CORS."""
        method = requested_method(head)
        wanted = self.routes.find(method, head.path) if method is not None else None
        if isinstance(wanted, Match) and wanted.route.cors is not None:
            return preflight(head, wanted.route, wanted.route.cors)
        return None

    def _cors_of(self, head: Head, allowed: Allowed) -> Cors | None:
        """The CORS settings for a 405: those of the first route of the path that has any."""
        for method in allowed.methods:
            found = self.routes.find(method, head.path)
            if isinstance(found, Match) and found.route.cors is not None:
                return found.route.cors
        return None

    async def _call(self, event: Event, route: Route, exchange: Exchange) -> Answer:
        exchange.event, exchange.id = event, event.id
        if route.timeout_s is None:
            outcome = await self._bus.call(event)
        else:
            outcome = await self._call_within(event, route.timeout_s)
        exchange.outcome = outcome
        hint = hint_of_form(event) if self._dev else ""
        return to_answer(outcome, event.id, dev=self._dev, hint=hint, own_headers=self._settings.own_headers)

    async def _call_within(self, event: Event, timeout_s: float) -> Outcome:
        with anyio.move_on_after(timeout_s):
            return await self._bus.call(event)
        return Failed(
            kind="timeout", code="Timeout", message=f"the call exceeded the route's timeout of {timeout_s:g} s"
        )


def require_c_parser() -> None:
    """Raise ParserError without aiohttp's C parser. Most of its request smuggling bugs were in the Python parser."""
    if http_parser.HttpRequestParser is http_parser.HttpRequestParserPy:
        raise ParserError("aiohttp has no C parser here: install its wheel, and unset AIOHTTP_NO_EXTENSIONS")
