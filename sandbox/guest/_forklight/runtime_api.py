"""The connections of the Runtime API: a listener on the loopback interface, and what its clients send. I/O only.

Only the instance's own command, and what it has started, is answered (`peers.py`). Nothing here blocks: a client that
does not read its answer holds up no other.
"""

import contextlib
import selectors
import socket
from collections.abc import Callable

from . import peers
from .http_requests import CONTINUE, Malformed, Request, Requests, response

_BACKLOG = 128
_READ_BYTES = 256 * 1024
_MOST_CONNECTIONS = 200
"""A command has one or two; some have one for each of their threads."""


class Connection:
    """A connection of a client. Answers are sent in order, as the client reads them."""

    def __init__(self, api: "Api", own: socket.socket) -> None:
        self._api = api
        self._socket = own
        self._requests = Requests(api.most_bytes)
        self._unsent = b""
        self._ends = False
        self._is_writing = False
        self.is_open = True

    def ready(self, mask: int) -> None:
        """Read, or go on writing."""
        if mask & selectors.EVENT_WRITE and self.is_open:
            self._write()
        if mask & selectors.EVENT_READ and self.is_open:
            self._read()

    def send(self, answer: bytes) -> None:
        """Send an answer, now as far as possible."""
        self._unsent += answer
        self._write()

    def close(self) -> None:
        if self.is_open:
            self.is_open = False
            self._api.forget(self, self._socket)

    def _read(self) -> None:
        try:
            data = self._socket.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        try:
            for request in self._requests.feed(data):
                self._ends = not request.keeps_alive
                answer = self._api.handle(request, self)
                if answer is not None:
                    self.send(answer)
        except Malformed as error:
            self._ends = True
            self.send(response(400, problem("Malformed", str(error))))
        if self._requests.awaits_continue:
            self._requests.awaits_continue = False
            self.send(CONTINUE)

    def _write(self) -> None:
        try:
            while self._unsent:
                self._unsent = self._unsent[self._socket.send(self._unsent) :]
        except BlockingIOError:
            pass
        except OSError:
            self.close()
        if self.is_open and self._ends and not self._unsent and not self._api.is_waiting(self):
            self.close()
        if self.is_open and self._is_writing != bool(self._unsent):
            self._is_writing = not self._is_writing
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._is_writing else 0)
            self._api.selector.modify(self._socket, events, self.ready)


class Api:
    """The listener, and all connections. `handle` gets each request, and answers at once or later."""

    def __init__(
        self,
        selector: selectors.BaseSelector,
        most_bytes: int,
        handle: "Callable[[Request, Connection], bytes | None]",
        *,
        is_own: "Callable[[socket.socket], bool | None]" = peers.is_own,
        refused: "Callable[[str], None]",
    ) -> None:
        """`refused` is told whose connection was refused."""
        self.selector = selector
        self.most_bytes = most_bytes
        self.handle = handle
        self._is_own = is_own
        self._refused = refused
        self._connections: set[Connection] = set()
        self.waiting: list[Connection] = []
        """Those that have asked for an event, in order."""
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG)
        self._listener.setblocking(False)
        selector.register(self._listener, selectors.EVENT_READ, self._accept)

    @property
    def address(self) -> str:
        host, port = self._listener.getsockname()
        return f"{host}:{port}"

    def is_waiting(self, connection: Connection) -> bool:
        """Whether it has asked for an event and has not got one."""
        return connection in self.waiting

    def close_all(self) -> None:
        """Close the connections, whose clients have ended."""
        for connection in [*self._connections]:
            connection.close()

    def close(self) -> None:
        self.close_all()
        self.selector.unregister(self._listener)
        self._listener.close()

    def forget(self, connection: Connection, own: socket.socket) -> None:
        """It is closed."""
        self.selector.unregister(own)
        own.close()
        self._connections.discard(connection)
        if connection in self.waiting:
            self.waiting.remove(connection)

    def _accept(self, _mask: int) -> None:
        try:
            own, (host, port) = self._listener.accept()
        except OSError:  # it was reset meanwhile
            return
        is_own: bool | None = False
        with contextlib.suppress(OSError):
            is_own = len(self._connections) < _MOST_CONNECTIONS and self._is_own(own)
        if not is_own:
            own.close()
            if is_own is not None:  # else nobody is there to be answered
                self._refused(f"{host}:{port}")
            return
        own.setblocking(False)
        own.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = Connection(self, own)
        self._connections.add(connection)
        self.selector.register(own, selectors.EVENT_READ, connection.ready)


def problem(kind: str, message: str) -> bytes:
    """The body of an error, as AWS has it."""
    from .wire import encode

    return encode({"errorType": kind, "errorMessage": message}).encode()
