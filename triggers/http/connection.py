"""One client connection: what it is busy with, until when, and how an answer leaves it.

aiohttp's RequestHandler parses, queues pipelined requests and runs the handler for one after the other. It has no
deadlines of the kind needed here and lets a broken body wait for ever, so this subclass keeps a phase and a deadline,
and the sweep ends what is overdue:

    IDLE     waiting for a request's first byte          overdue: closed without a word
    HEADERS  a request has begun                         overdue: 408
    BODY     the trigger waits for the rest of the body  overdue: 408
    BUSY     the handler has a request                   never overdue, pools have deadlines of their own
    WRITE    the client does not take its answer         overdue: cut
    CLOSING  the last answer is on its way               overdue: cut

Invariant: a request gets one answer at most. Outside the handler, only overdue HEADERS, when no request is known yet,
and `cut` are answered; both leave the connection CLOSING, and then nothing is written any more.
"""

from asyncio import AbstractEventLoop, BaseTransport, Transport
from enum import Enum
from math import inf
from socket import SO_LINGER, SOL_SOCKET
from struct import pack
from typing import cast

from aiohttp import web
from aiohttp.http import RawRequestMessage
from aiohttp.http_exceptions import LineTooLong
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import _ErrInfo

from triggers.http.answers import CONTINUE, Answer, encode_answer
from triggers.http.codec import problem
from triggers.http.connections import Connections
from triggers.http.errors import RefusedError
from triggers.http.exchange import LAST, NEXT, Request

Phase = Enum("Phase", "IDLE HEADERS BODY BUSY WRITE CLOSING")

_NEVER_S = 1e9
_RESET = pack("ii", 1, 0)
_LINGER_S = 2.0
_CLOSE = "connection: close\r\n"
_JOIN_BYTES = 64 * 1024
_RETRY = (("retry-after", "1"),)
_FULL = problem(503, "the server has as many connections as it takes", headers=_RETRY)
_STOPPED = problem(503, "the server is stopping and could not wait for the outcome", headers=_RETRY)
_SLOW_HEADERS = problem(408, "the headers took too long")
_MALFORMED = problem(400, "the request is not well-formed HTTP/1.1")
_TOO_LONG = problem(431, "the request target or the headers are too long")
_BROKEN = problem(500, "the server failed on this request")


class Connection(web.RequestHandler):
    """`remote` is the client's IP address, empty on a unix socket."""

    __slots__ = ("_body", "_connections", "_deadline_s", "_head_bytes", "_phase", "_settings", "_wire", "remote")

    def __init__(self, server: web.Server, connections: Connections, *, loop: AbstractEventLoop) -> None:
        self._connections = connections
        self._settings = connections.settings
        self._body: StreamReader | None = None
        self._phase = Phase.IDLE
        self._deadline_s = inf
        self._head_bytes = 0
        self.remote = ""
        super().__init__(
            server,
            loop=loop,
            # aiohttp's only timer cannot tell idle from slow: the sweep replaces it.
            keepalive_timeout=_NEVER_S,
            access_log=None,  # type: ignore[arg-type]  # documented as the way to turn it off
            max_line_size=self._settings.max_line_bytes,
            max_field_size=self._settings.max_field_bytes,
            max_headers=self._settings.max_headers,
            lingering_time=0,
            read_bufsize=_JOIN_BYTES,
            auto_decompress=False,
        )

    def connection_made(self, transport: BaseTransport) -> None:
        # A reference of our own: aiohttp drops its one on closing, and a client that reads nothing keeps it open.
        self._wire = cast("Transport", transport)
        peer = transport.get_extra_info("peername")
        self.remote = peer[0] if isinstance(peer, tuple) else ""
        if self._connections.admit(self):
            self._enter(Phase.IDLE, self._settings.header_timeout_s)
            super().connection_made(transport)
        else:
            self._write(_FULL, "GET", _CLOSE)
            self._wire.close()

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self._connections.forget(self)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._phase is Phase.BODY:
            self._check_body()
        elif self._phase is Phase.IDLE or self._phase is Phase.HEADERS:
            if self._messages:
                self.enter_busy()
            elif data:
                self._count_head(len(data))

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """aiohttp's way to say that the parser refused the bytes (400), or that our own handler raised (500)."""
        if status != 400:
            self.logger.error("the http trigger failed on a request", exc_info=exc)
            self._write_last(_BROKEN)
        else:
            self._write_last(_TOO_LONG if isinstance(exc, LineTooLong) else _MALFORMED)
        return LAST

    def expect_body(self, payload: StreamReader, *, asked: bool) -> None:
        """The handler is about to wait for the body. `asked`: the client waits for `100 Continue` to send it."""
        self._body = payload
        self._enter(Phase.BODY, self._settings.body_timeout_s)
        self._check_body()
        if asked and payload.exception() is None:
            self._wire.write(CONTINUE)

    def enter_busy(self) -> None:
        """A request is complete as far as the handler needs it."""
        self._phase = Phase.BUSY
        self._deadline_s = inf

    async def finish(self, request: Request, answer: Answer) -> web.StreamResponse:
        """Writes the answer, and waits until most of it is taken."""
        if self._phase is Phase.CLOSING:
            return LAST
        parsed, payload = request.parsed, request.payload
        close = answer.last or self._connections.draining or not _may_go_on(parsed, payload)
        self._write(answer, parsed.method, _CLOSE if close else _keep_alive(parsed.version))
        if self.writing_paused:
            self._enter(Phase.WRITE, self._settings.write_timeout_s)
            try:
                await request.drain()
            except ConnectionError:
                return LAST
        if close:
            self._linger()
            return LAST
        if self._messages:
            self.enter_busy()
        else:
            self._enter(Phase.IDLE, self._settings.idle_timeout_s)
        return NEXT

    def check_deadline(self, now_s: float) -> None:
        """Ends the phase if it is overdue."""
        if self._phase is not Phase.CLOSING and self._wire.is_closing():
            # Whoever closed it, a client that reads nothing would keep what is still to be flushed for ever.
            self._enter(Phase.CLOSING, self._settings.write_timeout_s)
        if now_s < self._deadline_s:
            return
        if self._phase is Phase.IDLE:
            self.force_close()
        elif self._phase is Phase.HEADERS:
            self._write_last(_SLOW_HEADERS)
        elif self._phase is Phase.BODY and self._body is not None:
            self._body.set_exception(RefusedError(408, "the body took too long"))
        else:
            self.abort()

    def close_if_idle(self) -> None:
        if self._phase is Phase.IDLE:
            self.force_close()

    def cut(self) -> None:
        """The end: a client that waits for its outcome gets 503 instead; a last answer on its way may arrive."""
        if self._phase is Phase.BUSY:
            self._write(_STOPPED, "GET", _CLOSE)
            self._enter(Phase.CLOSING, self._settings.write_timeout_s)
            # Losing the connection is what withdraws the event.
            self._wire.close()
        elif self._phase is not Phase.CLOSING:
            self.abort()

    def abort(self) -> None:
        """Closes without flushing what the client has not taken, neither from our memory nor from the kernel's."""
        self._wire.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, _RESET)
        self._wire.abort()

    def _count_head(self, size_bytes: int) -> None:
        if self._phase is Phase.IDLE:
            self._enter(Phase.HEADERS, self._settings.header_timeout_s)
            self._head_bytes = 0
        self._head_bytes += size_bytes
        if self._head_bytes > self._settings.max_head_bytes:
            self._write_last(_TOO_LONG)

    def _check_body(self) -> None:
        """aiohttp queues a parser error like another request, and never wakes who waits for this one's body."""
        if self._body is None or self._body.is_eof() or not self._messages:
            return
        if isinstance(self._messages[-1][0], _ErrInfo):
            self._messages.pop()
            self._body.set_exception(RefusedError(400, "the body is malformed"))

    def _write_last(self, answer: Answer) -> None:
        self._write(answer, "GET", _CLOSE)
        self._linger()

    def _linger(self) -> None:
        """Says that nothing more comes, and reads on into the void until the client closes too.

        Closing at once, with bytes of the client unread, would reset the connection and could take the answer from it
        (RFC 9112 §9.6).
        """
        if self._wire.is_closing():
            return
        unsent = self._wire.get_write_buffer_size()
        self._enter(Phase.CLOSING, self._settings.write_timeout_s if unsent else _LINGER_S)
        # To aiohttp this means: parse nothing more, and leave the transport alone.
        self._force_close = True
        self._wire.write_eof()
        self._wire.resume_reading()

    def _write(self, answer: Answer, method: str, connection: str) -> None:
        if self._phase is Phase.CLOSING or self._wire.is_closing():
            return
        head, body = encode_answer(answer, method=method, connection=connection, date=self._connections.stamps.date())
        if len(body) > _JOIN_BYTES:
            self._wire.write(head)
            self._wire.write(body)
        else:
            self._wire.write(head + body)

    def _enter(self, phase: Phase, timeout_s: float) -> None:
        self._phase = phase
        self._deadline_s = self._connections.now_s() + timeout_s


def _may_go_on(parsed: RawRequestMessage, payload: StreamReader) -> bool:
    """Whether another request may follow this one.

    Not after a chunked body: aiohttp 3.14.5 takes the fields of its trailer for headers of the next request, which
    behind a proxy that shares connections may be somebody else's.
    """
    return not parsed.should_close and not parsed.chunked and payload.is_eof()


def _keep_alive(version: tuple[int, int]) -> str:
    """HTTP/1.0 closes unless told otherwise; 1.1 stays open (RFC 9112 §9.3)."""
    return "connection: keep-alive\r\n" if version == (1, 0) else ""
