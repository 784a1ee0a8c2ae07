"""Answers requests: finds the route, makes an event, awaits its outcome on the bus, and reports what happened."""

import logging
import time
from asyncio import CancelledError
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from socket import socket

import anyio
import anyio.to_thread
from aiohttp import http_parser
from msgspec.structs import replace

from bus.bus import Begun, Bus
from bus.event import Event
from bus.invocation import CLIENT_LEFT
from bus.outcome import Failed, Ok, Outcome
from triggers.http.answers import Answer
from triggers.http.codec import hint_of_form, to_answer, to_event
from triggers.http.errors import ParserError, RefusedError
from triggers.http.exchange import Exchange, Known
from triggers.http.files.static import answer_file, redirect
from triggers.http.head import Head, expects_continue, parse_head
from triggers.http.policy import versions
from triggers.http.policy.cors import preflight, requested_method, with_cors
from triggers.http.policy.keys import Keys, without_key
from triggers.http.policy.proxies import Proxies
from triggers.http.policy.scopes import require
from triggers.http.problems import BROKEN, NOTHING, STOPPING, identified, no_route, refusal
from triggers.http.routes import Allowed, Match, RouteTable, StaticMatch
from triggers.http.settings import Cors, HttpSettings, Route
from triggers.http.socket.body import check_announced
from triggers.http.socket.connection import Connection
from triggers.http.socket.errands import Errand
from triggers.http.socket.listener import Listener
from triggers.http.socket.request import Request
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

    def run(self) -> AbstractAsyncContextManager[None]:
        """Listen inside the context; leaving it cuts off what `drain` has not ended. Raises HttpTriggerError."""
        require_c_parser()
        self._listener = Listener(
            self._settings, self._stamps, self._serve, turn_away=self._turn_away, given=self._given
        )
        return self._listener.run()

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

    def _serve(self, connection: Connection, exchange: Exchange | None = None) -> Errand | None:
        """Serve the next request of a connection, in callbacks if only its body and its function have to be waited for.

        `exchange` is the request, if its body was waited for. Otherwise return the errand that goes on from what has
        been found out so far.
        """
        begin = self._resume
        if exchange is None:
            exchange = Exchange(connection.remote, time.monotonic_ns())
            begin = self._begin
        try:
            if begin(connection, exchange):
                return None
        except RefusedError as refused:
            exchange.answer = self._refused(exchange, refused)
        except Exception:
            exchange.answer = self._broken(exchange)
        connection.left = partial(self._left, exchange)
        return partial(self._errand, connection, exchange)

    def _begin(self, connection: Connection, exchange: Exchange) -> bool:
        """Take the request, as far as possible without waiting. Return whether callbacks do the rest.

        Raises RefusedError.
        """
        exchange.request = request = connection.next_request()
        exchange.id = connection.request_id = self._stamps.invocation_id()
        connection.request_headers = ()
        known: Known | None = request.known
        if known is None or known.routes is not self.routes:
            if not self._admit(connection, exchange, request):
                return False
        else:
            exchange.recall(known)
        body: bytes | None = b""
        if request.length != 0:
            assert isinstance(exchange.found, Match)
            most_bytes = exchange.found.route.max_body_bytes
            check_announced(request.length, most_bytes)
            body = connection.body_nowait(request, most_bytes)
        if body is None:
            connection.left = partial(self._left, exchange)
            go_on = partial(self._serve, connection, exchange)
            connection.await_body(go_on, asked=expects_continue(exchange.head.headers))
            return True
        return self._call(connection, exchange, body)

    def _admit(self, connection: Connection, exchange: Exchange, request: Request) -> bool:
        """Find out what the head says. Return whether a function is to be called. Raises RefusedError."""
        message = request.message
        exchange.method, exchange.path = message.method, message.path.partition("?")[0]
        head = request.head
        if head is None:
            head = request.head = parse_head(message.method, message.path, message.version, message.headers.items())
        if self._proxies is not None:  # first, so that even a 404 is recorded with the client's own address
            exchange.client, exchange.scheme, head = self._proxies.origin(exchange.client, head)
        exchange.head = head
        routes = exchange.routes = self.routes
        found = exchange.found = routes.find(head.method, head.path)
        if not isinstance(found, Match):
            return False
        route = found.route
        if route.cors is not None:
            if (preflighted := self._preflight(head)) is not None:
                exchange.answer = self._identified(preflighted, exchange)
                return False
            exchange.cors = route.cors
            # So that pages can also read a 503 that the connection writes itself.
            connection.request_headers = with_cors(NOTHING, head, route.cors).headers
        if route.auth is not None:
            exchange.holder = holder = self._keys.holder(head.headers, route.scopes)
            require(holder.scopes, route.scopes)
            exchange.head = without_key(head)
        if versions.HEADER in head.headers:
            self._choose(exchange, head, route)
        return True

    def _choose(self, exchange: Exchange, head: Head, route: Route) -> None:
        """Have the version run that the request asks for. A function that was not deployed has none to choose from."""
        problem: LookupError | None = None
        try:
            exchange.version = self._bus.version(route.function, head.headers[versions.HEADER])
            if not exchange.version:
                return
        except LookupError as error:
            problem = error
        holder, name = versions.chooser(self._keys, head.headers)
        if problem is not None:  # which versions there are is only for whoever may choose
            raise versions.unknown(problem)
        if route.auth is None:  # else no key is left
            exchange.holder, exchange.head = holder, versions.without(head, name)

    def _resume(self, connection: Connection, exchange: Exchange) -> bool:
        """Take the body that was missing, and return what `_begin` does. Raises RefusedError."""
        return self._call(connection, exchange, connection.body())

    def _call(self, connection: Connection, exchange: Exchange, body: bytes) -> bool:
        """Make the event. Return whether its function gets it now, or else an errand has to see to it."""
        request, found, now = exchange.request, exchange.found, self._stamps.time()
        assert request is not None
        known: Known | None = request.known
        if known is not None and known.found is found:
            event = exchange.event = replace(known.event, id=exchange.id, time=now, body=body)
            route = known.found.route
        else:
            assert isinstance(found, Match)
            route = found.route
            event = exchange.event = to_event(
                exchange.head,
                found,
                body,
                remote=exchange.client,
                scheme=exchange.scheme,
                invocation_id=exchange.id,
                time=now,
                holder=exchange.holder if route.auth is not None else None,
            )
            exchange.id = connection.request_id = event.id  # a CloudEvent brings its own
            if request.is_repeated:
                request.known = exchange.known()
        if route.timeout_s is not None:
            return False
        begun = self._bus.begin(event, partial(self._done, connection, exchange), exchange.version)
        # Not in the exchange, to which `begun` leads: a cycle would stay in memory until the next collection.
        connection.left = partial(self._left, exchange, begun)
        return True

    def _done(self, connection: Connection, exchange: Exchange, outcome: Outcome) -> None:
        """The end of a request that was served in callbacks, unless its outcome has outputs to store."""
        exchange.outcome = outcome
        if isinstance(outcome, Ok) and outcome.outputs:
            connection.errands.give(partial(self._errand, connection, exchange))
            return
        try:
            answer = self._answer_of(exchange, outcome)
        except Exception:
            answer = self._broken(exchange)
        connection.answer(self._concluded(connection, exchange, answer))

    async def _errand(self, connection: Connection, exchange: Exchange) -> Answer:
        """The rest of a request that has to wait for something; runs in the connection's task."""
        answer = exchange.answer
        try:
            if answer is None:
                answer = await self._answer(connection, exchange)
        except RefusedError as refused:
            answer = self._refused(exchange, refused)
        except CancelledError:
            # The client left, or the server cut the connection off: no answer of this task, but a record.
            self._left(exchange)
            raise
        except Exception:
            answer = self._broken(exchange)
        return self._concluded(connection, exchange, answer)

    async def _answer(self, connection: Connection, exchange: Exchange) -> Answer:
        found = exchange.found
        if not isinstance(found, Match):
            return self._identified(await self._without_function(exchange, found), exchange)
        event, route = exchange.event, found.route
        assert event is not None
        if exchange.outcome is not None:
            exchange.outcome = outcome = await self._bus.complete(event, exchange.outcome)
        elif route.timeout_s is None:
            exchange.outcome = outcome = await self._bus.call(event, exchange.version)
        else:
            exchange.outcome = outcome = await self._call_within(event, route.timeout_s, exchange.version)
        return self._answer_of(exchange, outcome)

    def _answer_of(self, exchange: Exchange, outcome: Outcome) -> Answer:
        hint = hint_of_form(exchange.event) if self._dev and exchange.event is not None else ""
        settings = self._settings
        return to_answer(
            outcome,
            exchange.id,
            dev=self._dev,
            hint=hint,
            own_headers=settings.own_headers,
            version_header=settings.version_header,
        )

    def _concluded(self, connection: Connection, exchange: Exchange, answer: Answer) -> Answer:
        """Report the request, and return its answer with what every answer gets."""
        if exchange.cors is not None:
            answer = with_cors(answer, exchange.head, exchange.cors)
        answer = connection.afford(answer)
        self._bus.report(exchange.ended(answer.status, answer.reason, answer.detail))
        if self.stale and self._settings.own_headers:
            answer = replace(answer, headers=(*answer.headers, ("x-forklight-stale", self.stale)))
        return answer

    def _left(self, exchange: Exchange, begun: Begun | None = None) -> None:
        """The connection is lost before the answer, because the client left or the server cut it off."""
        if begun is not None:
            begun.drop()
        if exchange.id:
            ending = (503, STOPPING) if self._listener.connections.stopped else (CLIENT_LEFT, "left")
            self._bus.report(exchange.ended(*ending))

    def _refused(self, exchange: Exchange, refused: RefusedError) -> Answer:
        if not exchange.method:
            exchange.method, exchange.path = refused.method, refused.target.partition("?")[0]
        return self._identified(refusal(refused), exchange)

    def _broken(self, exchange: Exchange) -> Answer:
        log.exception("the http trigger failed on a request")
        return self._identified(BROKEN, exchange)

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

    async def _without_function(self, exchange: Exchange, found: StaticMatch | Allowed | None) -> Answer:
        head = exchange.head
        if not isinstance(found, StaticMatch):
            answer = self._preflight(head) or no_route(head.method, found)
            if isinstance(found, Allowed) and answer.status == 405:
                exchange.cors = self._cors_of(head, found)
            return answer
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

    async def _call_within(self, event: Event, timeout_s: float, version: str) -> Outcome:
        with anyio.move_on_after(timeout_s):
            return await self._bus.call(event, version)
        return Failed(
            kind="timeout", code="Timeout", message=f"the call exceeded the route's timeout of {timeout_s:g} s"
        )


def require_c_parser() -> None:
    """Raise ParserError without aiohttp's C parser. Most of its request smuggling bugs were in the Python parser."""
    if http_parser.HttpRequestParser is http_parser.HttpRequestParserPy:
        raise ParserError("aiohttp has no C parser here: install its wheel, and unset AIOHTTP_NO_EXTENSIONS")
