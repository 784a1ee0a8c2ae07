"""One client connection: what it is busy with, until when, and how an answer leaves it.

Each connection has one task, `serve` of whoever made it, which takes one request after the other, runs it and writes
its answer; so a request makes no task, and losing the connection ends whatever its task is waiting for. What the client
did wrong is raised where that task waits for the client. The connection keeps a phase and a deadline, and the sweep
ends what is overdue:

    IDLE     waiting for a request's first byte          overdue: closed without a word
    HEADERS  a request has begun                         overdue: 408
    BODY     the task waits for the rest of the body     overdue: 408
    BUSY     the task has a request                      never overdue, pools have deadlines of their own
    WRITE    the client does not take its answer         overdue: cut
    CLOSING  the last answer is on its way               overdue: cut

Invariant: a request gets one answer at most. Only the task answers, but for `cut`, and that leaves the connection
CLOSING, in which nothing is written any more.
"""

from asyncio import AbstractEventLoop, BaseTransport, Future, Protocol, Transport, sleep
from collections.abc import Callable
from enum import Enum
from math import inf
from socket import SO_KEEPALIVE, SO_LINGER, SOL_SOCKET
from struct import pack
from typing import cast

from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader
from anyio import CancelScope, to_thread

from triggers.http.answers import CONTINUE, Answer, Content, encode_answer
from triggers.http.body import Body
from triggers.http.codec import BROKEN, STOPPING, identified, problem
from triggers.http.connections import Connections
from triggers.http.errors import RefusedError
from triggers.http.intake import Intake, Request
from triggers.http.retire import hear

Phase = Enum("Phase", "IDLE HEADERS BODY BUSY WRITE CLOSING")
IDLE, HEADERS, BODY, BUSY, WRITE, CLOSING = Phase

_RESET = pack("ii", 1, 0)
_LINGER_S = 2.0
_CLOSE = "connection: close\r\n"
_JOIN_BYTES = 64 * 1024
_PIECE_BYTES = 256 * 1024
"""Of a file, what is read and written at once."""
_RETRY = (("retry-after", "1"),)
_FULL = problem(
    503, "the server has as many connections as it takes (max_connections)", headers=_RETRY, reason="connections"
)
_STOPPED = problem(503, "the server is stopping and could not wait for the outcome", headers=_RETRY, reason=STOPPING)


class Connection(Protocol):
    """`remote` is the client's IP address, empty on a unix socket. The task runs in `scope`.

    The task says in `request_id` what it answers, for an answer that it cannot give itself.
    """

    __slots__ = (
        "_body",
        "_connections",
        "_deadline_s",
        "_head_bytes",
        "_intake",
        "_loop",
        "_phase",
        "_refused",
        "_request",
        "_settings",
        "_start",
        "_waiter",
        "_wire",
        "_writing_paused",
        "remote",
        "request_id",
        "scope",
    )

    def __init__(
        self, connections: Connections, start: "Callable[[Connection], None]", *, loop: AbstractEventLoop
    ) -> None:
        """`start` makes the connection's task, once it is admitted."""
        self._connections = connections
        self._settings = connections.settings
        self._start = start
        self._loop = loop
        self._intake = Intake(connections.settings, loop)
        self._phase = IDLE
        self._deadline_s = inf
        self._head_bytes = 0
        self._request: Request | None = None
        self._body: Body | None = None
        self._refused: RefusedError | None = None
        self._waiter: Future[None] | None = None
        self._writing_paused = False
        self.remote = ""
        self.request_id = ""
        # What cancels the rest of the server must not: `drain` is what ends connections, and tells their clients.
        self.scope = CancelScope(shield=True)

    def connection_made(self, transport: BaseTransport) -> None:
        self._wire = cast("Transport", transport)
        peer = transport.get_extra_info("peername")
        self.remote = peer[0] if isinstance(peer, tuple) else ""
        if self._connections.admit(self):
            connection = transport.get_extra_info("socket")
            connection.setsockopt(SOL_SOCKET, SO_KEEPALIVE, 1)
            if self._connections.draining:
                hear(connection)
            self._enter(IDLE, self._settings.header_timeout_s)
            self._start(self)
        else:
            self._write(self._connections.turn_away(self.remote, _FULL), "GET", _CLOSE)
            self._wire.close()
            self._phase = CLOSING

    def connection_lost(self, exc: BaseException | None) -> None:
        self._phase = CLOSING
        self._connections.forget(self)
        self.scope.cancel()

    def data_received(self, data: bytes) -> None:
        if self._phase is CLOSING:
            return
        if self._phase is BUSY or self._phase is WRITE or self._intake.is_behind:
            if self._intake.keep(data):
                self._wire.pause_reading()
            return
        try:
            if self._feed(data):
                self._wake()
        except RefusedError as refused:
            self._refuse(refused)

    def pause_writing(self) -> None:
        self._writing_paused = True

    def resume_writing(self) -> None:
        self._writing_paused = False
        if self._phase is WRITE:
            self._wake()

    @property
    def is_open(self) -> bool:
        """Whether another request may come."""
        return self._phase is not CLOSING

    async def next_request(self) -> Request:
        """The next one, as soon as its headers have come. RefusedError: malformed, too slow or too long."""
        while not self._intake:
            await self._wait_client()
        self._request = request = self._intake.take()
        return request

    async def read_body(self, stream: StreamReader, limit_bytes: int, *, asked: bool) -> bytes:
        """The body as received. `asked`: the client waits for `100 Continue` to send it.

        RefusedError: 413 over the limit, 408 over the deadline, 400 if it is malformed.
        """
        body = Body(stream, limit_bytes)
        if body.pull():
            return body.whole()
        self._body = body
        self._enter(BODY, self._settings.body_timeout_s)
        if asked:
            self._wire.write(CONTINUE)
        while not body.pull():
            await self._wait_client()
        self._body = None
        self.enter_busy()
        return body.whole()

    def enter_busy(self) -> None:
        """A request is complete as far as the task needs it."""
        self._phase = BUSY
        self._deadline_s = inf

    async def finish(self, answer: Answer) -> None:
        """Writes the answer to the request last taken, if there is one, and waits until most of it is taken."""
        request, self._request = self._request, None
        if self._phase is CLOSING:
            return
        if request is None:  # it was refused before it was known
            close, method, connection = True, "GET", _CLOSE
        else:
            message, stream = request
            close = answer.last or self._connections.draining or not _may_go_on(message, stream)
            method, connection = message.method, _CLOSE if close else _keep_alive(message.version)
        self._write(answer, method, connection)
        if answer.content is not None and method != "HEAD":
            await self._write_content(answer.content)
        elif self._writing_paused:
            await self._wait_taken()
        if close:
            self._linger()
            return
        self._intake.finished()
        if self._intake:
            self.enter_busy()
        else:
            self._enter(IDLE, self._settings.idle_timeout_s)

    async def _write_content(self, content: Content) -> None:
        """Piece by piece, each once most of the one before is taken."""
        offset = 0
        while offset < content.size_bytes and self._phase is not CLOSING:
            try:
                piece = await to_thread.run_sync(content.read, offset, _PIECE_BYTES)
            except OSError:
                piece = b""
            if not piece:  # the file was cut meanwhile: only breaking off tells the client that its end is missing
                self.abort()
                return
            self._wire.write(piece)
            offset += len(piece)
            if self._writing_paused:
                await self._wait_taken()

    async def _wait_taken(self) -> None:
        self._enter(WRITE, self._settings.write_timeout_s)
        await self._wait()

    def fail(self) -> None:
        """The task could not go on: the client is told, if it has not been, and the connection ends."""
        if self._phase is not CLOSING:
            self._write(identified(BROKEN, self.request_id, self._settings), "GET", _CLOSE)
            self._linger()

    def check_deadline(self, now_s: float) -> None:
        """Ends the phase if it is overdue."""
        if self._phase is not CLOSING and self._wire.is_closing():
            # Whoever closed it, a client that reads nothing would keep what is still to be flushed for ever.
            self._enter(CLOSING, self._settings.write_timeout_s)
        if now_s < self._deadline_s:
            return
        if self._phase is IDLE:
            self._wire.close()
        elif self._phase is HEADERS:
            self._refuse(RefusedError(408, "the headers took too long"))
        elif self._phase is BODY:
            self._refuse(RefusedError(408, "the body took too long"))
        else:
            self.abort()

    def close_if_idle(self) -> None:
        if self._phase is IDLE:
            self._wire.close()

    def cut(self) -> None:
        """The end: a client that waits for its outcome gets 503 instead; a last answer on its way may arrive."""
        if self._phase is BUSY:
            self._write(identified(_STOPPED, self.request_id, self._settings), "GET", _CLOSE)
            self._enter(CLOSING, self._settings.write_timeout_s)
            # Losing the connection is what withdraws the event.
            self._wire.close()
        elif self._phase is not CLOSING:
            self.abort()

    def abort(self) -> None:
        """Closes without flushing what the client has not taken, neither from our memory nor from the kernel's."""
        self._wire.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, _RESET)
        self._wire.abort()

    def _feed(self, data: bytes) -> bool:
        """Whether that is what the task waits for. Raises RefusedError."""
        if self._phase is BODY:
            return self._feed_body(data)
        if self._intake.feed(data):
            self.enter_busy()
            return True
        if data:
            self._count_head(len(data))
        return False

    def _feed_body(self, data: bytes) -> bool:
        try:
            self._intake.feed(data)
        except RefusedError as refused:
            raise RefusedError(400, "the body is malformed") from refused
        return self._body is not None and self._body.pull()

    def _count_head(self, size_bytes: int) -> None:
        if self._phase is IDLE:
            self._enter(HEADERS, self._settings.header_timeout_s)
            self._head_bytes = 0
        self._head_bytes += size_bytes
        if self._head_bytes > self._settings.max_head_bytes:
            raise RefusedError(431, "the request target or the headers are too long")

    async def _wait_client(self) -> None:
        """Returns when something more of the client's has been parsed. Raises RefusedError for what it did wrong."""
        if self._refused is None:
            if self._intake.is_behind:
                self._feed(self._intake.catch_up())
                self._wire.resume_reading()
                await sleep(0)  # others may be waiting behind this client's many requests
            else:
                await self._wait()
        if self._refused is not None:
            raise self._refused

    async def _wait(self) -> None:
        """Returns when `_wake` is called. The task never waits for two things, so there is one waiter."""
        self._waiter = self._loop.create_future()
        await self._waiter

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _refuse(self, refused: RefusedError) -> None:
        """Ends the request that is coming in: the task answers it."""
        self._refused = refused
        self.enter_busy()
        self._wake()

    def _linger(self) -> None:
        """Says that nothing more comes, and reads on into the void until the client closes too.

        Closing at once, with bytes of the client unread, would reset the connection and could take the answer from it
        (RFC 9112 §9.6).
        """
        unsent = self._wire.get_write_buffer_size()
        # First of all, whatever has become of the client: in any other phase the task would go on.
        self._enter(CLOSING, self._settings.write_timeout_s if unsent else _LINGER_S)
        if self._wire.is_closing():
            return
        self._wire.write_eof()
        self._wire.resume_reading()

    def _write(self, answer: Answer, method: str, connection: str) -> None:
        if self._phase is CLOSING or self._wire.is_closing():
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


def _may_go_on(message: RawRequestMessage, stream: StreamReader) -> bool:
    """Whether another request may follow this one.

    Not after a chunked body: aiohttp 3.14.5 takes the fields of its trailer for headers of the next request, which
    behind a proxy that shares connections may be somebody else's.
    """
    return not message.should_close and not message.chunked and stream.is_eof()


def _keep_alive(version: tuple[int, int]) -> str:
    """HTTP/1.0 closes unless told otherwise; 1.1 stays open (RFC 9112 §9.3)."""
    return "connection: keep-alive\r\n" if version == (1, 0) else ""
