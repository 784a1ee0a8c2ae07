"""One client connection: the transport, the phase, and the task for whatever has to wait.

Theory of operation. The transport calls the connection as an asyncio protocol when bytes or EOF arrive. A complete head
is served at once, in the same turn of the loop: `serve` takes it with `next_request` and, if the body has not arrived,
goes on once it has (`await_body`). Then it either has `answer` called when the outcome is known, or returns an errand:
the rest of the work, which has to wait for a file or a store. The connection's task, made by `start`, carries errands
out, one after the other, and `finish`es their answers. So no request makes a task of its own. Losing the connection
cancels what its task waits for; without an errand it calls `left`.

Transport, task, server and clock report to `_signal` what happens. `life.py` returns the next phase and an action,
which is carried out here. READY and ANSWERED, which every request has, are carried out without a look into the table.
"""

from asyncio import AbstractEventLoop, BaseTransport, Protocol, Transport, sleep
from collections.abc import Callable
from math import inf
from socket import AF_UNIX, SO_KEEPALIVE, SOL_SOCKET
from typing import cast

from triggers.http.answers import CONTINUE, Answer, HeaderLines
from triggers.http.errors import RefusedError
from triggers.http.problems import BROKEN, FULL, STOPPED, UNREAD, identified
from triggers.http.socket.body import Body
from triggers.http.socket.budget import UNCOUNTED_BYTES
from triggers.http.socket.connections import Connections
from triggers.http.socket.deadline import Deadline
from triggers.http.socket.errands import Errand, Errands
from triggers.http.socket.intake import Intake
from triggers.http.socket.life import STEPS, Act, Phase, Signal
from triggers.http.socket.outgoing import Outgoing
from triggers.http.socket.request import Request
from triggers.http.socket.retire import lift_hop_limit

IDLE, HEAD, BUSY, BODY, WRITE, ENDING, GONE = Phase
NOTHING = Act.NOTHING  # in Python 3.11 an enum's attribute costs several times as much as a global


class Connection(Protocol):
    """`remote` is the client's IP address, empty on a unix socket. `errands` are those of its task.

    The server sets `request_id` and `request_headers`, which every answer to its request carries, even a 503 at the
    end, and `left`, which is called if the connection is lost while no task works for the request.
    """

    __slots__ = (
        "_body",
        "_client_done",
        "_connections",
        "_deadline",
        "_go_on",
        "_intake",
        "_loop",
        "_out",
        "_phase",
        "_reading_paused",
        "_refused",
        "_request",
        "_wire",
        "_written_last",
        "errands",
        "left",
        "remote",
        "request_headers",
        "request_id",
    )

    def __init__(self, connections: "Connections[Connection]", loop: AbstractEventLoop) -> None:
        self._connections = connections
        self._loop = loop
        self.errands = Errands(loop)
        self._intake = Intake(connections.settings, loop)
        self._phase = IDLE
        self._request: Request | None = None
        self._body: Body | None = None
        self._go_on: Callable[[], Errand | None] | None = None
        self._refused: RefusedError | None = None
        self._written_last: bool | None = None
        """In WRITE: whether the answer that the client reads is its last; None if the task goes on with it."""
        self._client_done = self._reading_paused = False
        self.left: Callable[[], None] | None = None
        self.remote = self.request_id = ""
        self.request_headers: HeaderLines = ()

    def __repr__(self) -> str:
        client = self.remote or "a unix socket"
        request = f"request {self.request_id}" if self._request is not None else "no request"
        deadline = getattr(self, "_deadline", "not made yet")
        return f"<Connection {self._phase.value}, client {client}, {request}, {deadline}>"

    # Called by the transport.

    def connection_made(self, transport: BaseTransport) -> None:
        self._wire = cast("Transport", transport)
        self._out = Outgoing(self._wire, self._connections.stamps, self._connections.unread)
        self._deadline = Deadline(self._connections.settings, self._connections.now_s, self._out)
        connection, peer = transport.get_extra_info("socket"), transport.get_extra_info("peername")
        self.remote = peer[0] if isinstance(peer, tuple) else ""
        if not self.remote and connection.family != AF_UNIX:  # already reset, so not a proxy on a unix socket
            self._signal(Signal.FAILED)
            return
        connection.setsockopt(SOL_SOCKET, SO_KEEPALIVE, 1)
        if self._connections.draining:
            lift_hop_limit(connection)
        if self._connections.admit(self):
            self._deadline.begin(HEAD)  # a client that has sent nothing yet is slow, not idle
            self._connections.start(self)
        else:
            self._phase = BUSY
            self._out.write(self._connections.turn_away(self.remote, FULL), None)
            self._signal(Signal.LAST if self._connections.see_off(self) else Signal.CUT)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._signal(Signal.LOST)

    def data_received(self, data: bytes) -> None:
        phase = self._phase
        if phase is ENDING or phase is GONE:
            self._deadline.linger()
            return
        self._intake.keep(data)
        if phase is IDLE or phase is HEAD:
            self._look()
        elif phase is BODY:
            self._look_for_body()
        elif self._intake.is_full:
            self._pause_reading(paused=True)

    def eof_received(self) -> bool:
        """Return whether the connection stays open: a client that only half-closed still gets its answer."""
        self._client_done = True
        if self._phase is BUSY:
            self._deadline.half_closed()
        self._signal(Signal.CLIENT_DONE)
        return (self._phase is BUSY or self._phase is WRITE) and self._out.has_reader

    def pause_writing(self) -> None:
        self._out.is_paused = True

    def resume_writing(self) -> None:
        self._out.is_paused = False
        self._signal(Signal.READ)

    # Called by the server.

    def next_request(self) -> Request:
        """Return the request to serve. Raises RefusedError if it is malformed, too slow or too long."""
        if self._refused is not None:
            raise self._refused
        self._request = request = self._intake.take()
        return request

    def body_nowait(self, request: Request, limit_bytes: int) -> bytes | None:
        """Return the body as received; None if a part of it is missing: then `await_body`.

        Raises RefusedError: 413 over the limit, 400 malformed, 503 if all connections hold too much.
        """
        self._body = body = Body(limit_bytes, self._connections.bodies)
        return body.whole() if self._intake.read(body) else None

    def await_body(self, go_on: Callable[[], Errand | None], *, asked: bool) -> None:
        """Have `go_on` serve the request once `body` has a result. `asked`: the client waits for `100 Continue`."""
        self._go_on = go_on
        self._signal(Signal.BODY_MISSING)
        if asked and not self._client_done:
            self._wire.write(CONTINUE)
        self._await_body()

    def body(self) -> bytes:
        """Return what `await_body` waited for. Raises RefusedError as `body_nowait` does, and 408 if it is too slow."""
        if self._refused is not None:
            raise self._refused
        assert self._body is not None
        return self._body.whole()

    def afford(self, answer: Answer) -> Answer:
        """Return the answer, or a 503 if it would take too much memory until its client has read it."""
        is_small = answer.content is None and len(answer.body) <= UNCOUNTED_BYTES
        if is_small or self._phase is not BUSY or self._out.hold(answer):
            return answer
        if answer.content is not None:
            answer.content.close()
        return self._identified(UNREAD)

    def answer(self, answer: Answer) -> None:
        """Write the answer to the request. The next one is served once the client has read most of this."""
        last = self._write(answer)
        if last is not None:
            self._finish(last)

    # Called by the task.

    async def wait_errand(self) -> bool:
        """Wait for an errand; return False if there will be none."""
        if self.errands.has_one:
            await sleep(0)  # a client with many pipelined requests must not starve the others
        while not self.errands.has_one and self._phase is not ENDING and self._phase is not GONE:
            await self.errands.wait()
        return self._phase is BUSY

    def take_errand(self) -> Errand:
        """Return what `wait_errand` waited for. From here on the task reports what becomes of the request."""
        self.left = None
        return self.errands.take()

    async def finish(self, answer: Answer) -> None:
        """Write the answer to the last request, if any, and its content if that is in a file."""
        is_head = self._request is not None and self._request.method == "HEAD"
        last = self._write(answer)
        if last is None:
            return
        if answer.content is None or is_head or await self._out.write_content(answer.content, self._wait_read):
            self._finish(last)
        else:
            self._signal(Signal.FAILED)

    def _write(self, answer: Answer) -> bool | None:
        """Write the answer without its content; return whether it is the last, or None if nobody waits for it."""
        request, self._request = self._request, None
        self.left = None
        if self._body is not None:
            self._body.release()
            self._body = None
        if self._phase is not BUSY:
            return None
        last = answer.last or self._connections.draining or request is None or not self._intake.may_go_on(request)
        self._out.write(answer, request, last=last)
        return last

    def _finish(self, last: bool) -> None:
        """Serve the next request, or end, once the client has read most of the answer."""
        if self._phase is BUSY and self._out.is_paused:
            self._written_last = last
            self._signal(Signal.UNREAD)
            return
        self._out.release()
        if last:
            self._signal(Signal.LAST)
        elif self._phase is BUSY:  # ANSWERED
            self._phase = IDLE
            self._deadline.begin(IDLE)
            if self._client_done or self._reading_paused or not self._intake.is_empty:
                self._look()

    def fail(self) -> None:
        """End the connection after an error in the task, with a 500 if the request has no answer yet."""
        if self._phase is BUSY and self._request is not None:
            self._out.write(self._identified(BROKEN), self._request)
            self._signal(Signal.LAST)
        self._signal(Signal.FAILED)

    # Called by the listener.

    def check_deadline(self, now_s: float) -> None:
        """End the phase if it is overdue."""
        if self._phase is WRITE or self._phase is ENDING:
            is_last = self._phase is ENDING
            self._deadline.look_at_reader(now_s, is_last=is_last, draining=self._connections.draining)
        if now_s >= self._deadline.at_s:
            self._signal(Signal.OVERDUE)

    def retire(self) -> None:
        """Close if idle; a client that only lingers gets a few seconds more."""
        if self._phase is ENDING:
            self._deadline.hurry()
        self._signal(Signal.RETIRED)

    def cut(self) -> None:
        """Close now: a client that waits for an outcome gets a 503; a last answer on its way may still arrive."""
        self._signal(Signal.CUT)

    def abort(self) -> None:
        """Close at once, without flushing."""
        if self._phase is not GONE:
            self._out.abort()

    # Between the two sides.

    def _signal(self, signal: Signal) -> None:
        was = self._phase
        phase, act = STEPS[signal][was]
        if phase is not was:
            self._phase = phase
            self._deadline.begin(phase)
            if phase is BUSY and self._client_done:
                self._deadline.half_closed()
        if act is not NOTHING:
            _ACTS[act](self, was)

    def _look(self) -> None:
        """Look for a complete head among the bytes received, while no request is served."""
        if self._intake.is_ready():  # READY
            was, self._phase, self._deadline.at_s = self._phase, BUSY, inf
            if self._client_done:
                self._deadline.half_closed()
            self._take_up(was)
        elif self._client_done:
            self._signal(Signal.CLIENT_DONE)
        else:
            if not self._intake.is_empty:
                self._signal(Signal.BEGUN)
            self._pause_reading(paused=False)

    def _look_for_body(self) -> None:
        """Add the bytes received to the body that is awaited."""
        if self._phase is not BODY or self._body is None:  # the connection has ended meanwhile
            return
        try:
            is_whole = self._intake.read(self._body)
        except RefusedError as refused:
            self._refused = refused
            is_whole = True
        if is_whole:
            self._pause_reading(paused=False)  # or nothing would notice that the client leaves
            self._signal(Signal.READY)
        else:
            self._deadline.received(self._body.size_bytes)
            self._await_body()

    def _await_body(self) -> None:
        """Parse the rest of the body when it arrives, or in the next turn of the loop if it has arrived."""
        if not self._intake.is_empty:
            self._pause_reading(paused=True)
            self._loop.call_soon(self._look_for_body)
        elif self._client_done:
            self._signal(Signal.CLIENT_DONE)
        else:
            self._pause_reading(paused=False)

    async def _wait_read(self) -> None:
        self._signal(Signal.UNREAD)
        await self.errands.wait()

    def _identified(self, answer: Answer) -> Answer:
        return identified(answer, self.request_id, self._connections.settings, self.request_headers)

    def _pause_reading(self, *, paused: bool) -> None:
        if paused is not self._reading_paused and not self._client_done and not self._wire.is_closing():
            self._reading_paused = paused
            (self._wire.pause_reading if paused else self._wire.resume_reading)()

    # The actions of `life.py`; `was` is the phase that has ended.

    def _take_up(self, _was: Phase) -> None:
        go_on, self._go_on = self._go_on, None
        errand = self._connections.serve(self) if go_on is None else go_on()
        if errand is not None:
            self.errands.give(errand)

    def _wake(self, _was: Phase) -> None:
        last, self._written_last = self._written_last, None
        if last is None:
            self.errands.wake()
        else:
            self._finish(last)

    def _time_out(self, was: Phase) -> None:
        self._refused = refused = RefusedError(408, f"the {'body' if was is BODY else 'headers'} took too long")
        refused.method, refused.target = self._intake.begun_line()
        self._take_up(was)

    def _linger(self, _was: Phase) -> None:
        """Send EOF, and discard what the client sends until it closes too.

        Closing at once, with bytes of the client unread, would reset the connection, and the client could lose the
        answer (RFC 9112 §9.6).
        """
        if self._client_done:
            self._wire.close()
        elif not self._wire.is_closing():
            self._pause_reading(paused=False)
            self._out.end()

    def _stop(self, _was: Phase) -> None:
        if self._request is not None:
            self._out.write(self._identified(STOPPED), self._request)
        self._wire.close()  # which withdraws the event, once the connection is lost

    def _cancel(self, _was: Phase) -> None:
        self._connections.forget(self)
        self._out.release()
        self._go_on = None
        if self._body is not None:
            self._body.release()
        left, self.left = self.left, None
        if left is not None:
            left()
        self.errands.scope.cancel()


_ACTS: dict[Act, Callable[[Connection, Phase], None]] = {
    Act.SERVE: Connection._take_up,
    Act.WAKE: Connection._wake,
    Act.TIME_OUT: Connection._time_out,
    Act.LINGER: Connection._linger,
    Act.CLOSE: lambda connection, _was: connection._wire.close(),
    Act.STOP: Connection._stop,
    Act.ABORT: lambda connection, _was: connection.abort(),
    Act.CANCEL: Connection._cancel,
}
