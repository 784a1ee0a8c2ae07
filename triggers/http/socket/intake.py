"""Cuts the bytes of a connection into requests, one at a time.

The parser is the C parser of aiohttp, used directly. It gets exactly one head at a time, so its result never depends on
how the bytes were split. Given whole segments, it would drop valid requests before a malformed one, everything behind
an upgrade that was not accepted, and a body of length 2^64 - 1. A body of announced length passes it by, because it
would copy each byte twice: the next head gets a new parser, which costs less than parsing an empty body. The end of a
chunked body is known to the parser alone, which does not return what follows: such a request is the last of its
connection, and so is any with refused framing.

The requests of a connection often have the same head to the last byte: that of a service that calls another, or polls
it. Such a head is compared instead of parsed, which yields the same and saves nearly half of this trigger's work.

While a request is served, at most `KEPT_BYTES` and one read are kept, because then the connection is not read. While a
request arrives, a head up to its limit is kept.
"""

from asyncio import AbstractEventLoop
from typing import Any

from aiohttp.hdrs import CONNECTION, CONTENT_LENGTH
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpRequestParser
from aiohttp.http_writer import HttpVersion10
from aiohttp.streams import StreamReader

from triggers.http.errors import RefusedError
from triggers.http.settings import HttpSettings
from triggers.http.socket.body import Body
from triggers.http.socket.malformed import hopeless, reason, refusal, request_line
from triggers.http.socket.request import Message, Request

KEPT_BYTES = 64 * 1024
"""How much a client may send ahead while its request is served, before the connection is no longer read."""

TURN_BYTES = 16 * 1024
"""How much of a chunked body is parsed at once: a whole read of one-byte chunks would block the event loop for long."""

REPEATED_BYTES = 4 * 1024
"""The longest head that is kept to be compared with the next one. An idle connection keeps it, too."""

_UNLIMITED_BYTES = 2**30
_KEEP_ALIVE = "connection: keep-alive\r\n"
"""Sent in HTTP/1.0 only, where connections close by default (RFC 9112 §9.3)."""
_END = b"\r\n\r\n"
_LINE_END = b"\r\n"


class _Flow:
    """The flow control that aiohttp's body stream wants. It does nothing, because every fed byte is read at once."""

    def pause_reading(self) -> None:
        """Never called: fewer than `_UNLIMITED_BYTES` are unread."""

    def resume_reading(self, *, resume_parser: bool = True) -> None:
        """Called at each read."""


_FLOW = _Flow()


class Intake:
    """The requests of one connection, in order."""

    __slots__ = (
        "_at",
        "_end",
        "_kept",
        "_latest",
        "_latest_head",
        "_left",
        "_loop",
        "_parser",
        "_repeats",
        "_seen",
        "_settings",
        "_stream",
        "_used_up",
    )

    def __init__(self, settings: HttpSettings, loop: AbstractEventLoop) -> None:
        self._settings = settings
        self._loop = loop
        self._kept = b""
        self._at = self._end = self._seen = 0
        self._left: int | None = 0
        self._used_up = False
        """Whether the parser expects something else than a head: a body, or another protocol's bytes."""
        self._parser = self._new_parser()
        self._latest_head = b""
        """The head of `_latest`; empty if there is none to be compared."""
        self._repeats = False
        """Whether the head that is ready is that of `_latest`."""
        self._latest: Request

    def keep(self, data: bytes) -> None:
        """Append received bytes."""
        if self._at == len(self._kept):
            self._kept = data
        else:
            self._kept = self._kept[self._at :] + data
            self._end -= self._at
        self._at = 0

    @property
    def is_full(self) -> bool:
        """Whether reading should pause."""
        return len(self._kept) - self._at >= KEPT_BYTES

    @property
    def is_empty(self) -> bool:
        """Whether no received byte is left."""
        return self._at == len(self._kept)

    def is_ready(self) -> bool:
        """Return whether `take` can return or refuse a request."""
        kept, at, latest = self._kept, self._at, self._latest_head
        if latest and kept.startswith(latest, at):
            self._end = at + len(latest)
            self._repeats = True
            return True
        while at < len(kept) and kept[at] in _LINE_END:
            at += 1  # a server should ignore empty lines before a request (RFC 9112 §2.2)
        self._at = at
        if at == len(kept):
            return False
        seen = self._seen  # so that a head which arrives byte by byte is searched only once
        self._end = end = kept.find(_END, at + seen - len(_END) if seen > len(_END) else at) + len(_END)
        if end >= len(_END):
            return True
        if at:
            self._kept, self._at = kept[at:], 0
        self._seen = len(self._kept)
        return hopeless(self._kept, self._settings, seen) is not None

    def begun_line(self) -> tuple[str, str]:
        """Return (method, target) of a request that has begun; empty if they have not arrived."""
        return request_line(self._kept[self._at :])

    def take(self) -> Request:
        """Return the next request after `is_ready`. Raises RefusedError, after which nothing more may be taken."""
        if self._repeats:
            self._repeats = False
            self._at = self._end
            self._seen = 0  # it may have come in pieces, and what follows may be shorter
            request = self._latest
            request.is_repeated = True
            self._left = request.length
            return request
        kept, at, end = self._kept, self._at, self._end
        is_whole = end >= len(_END)
        head = kept[at:end] if is_whole else kept[at:]
        self._at, self._seen = at + len(head), 0
        try:
            if not is_whole or len(head) > self._settings.max_head_bytes:
                raise hopeless(head, self._settings) or RefusedError(400, "the request is incomplete")
            message, stream = self._parse(head)
        except RefusedError as refused:
            refused.method, refused.target = request_line(head)
            raise
        if message.chunked:
            self._left, self._stream = None, stream
        else:
            announced = message.headers.get(CONTENT_LENGTH)
            self._left = int(announced) if announced else 0
        self._used_up = message.upgrade or self._left != 0
        version = message.version
        goes_on = _KEEP_ALIVE if version == HttpVersion10 else ""
        request = Request(message, self._left, message.method, goes_on, _stays_open(message))
        if len(head) <= REPEATED_BYTES and not message.chunked and not message.upgrade:
            self._latest_head, self._latest = head, request
        else:
            self._latest_head = b""
        return request

    def _parse(self, head: bytes) -> tuple[Message, StreamReader]:
        if self._used_up:
            self._parser = self._new_parser()
        try:
            messages, _, _ = self._parser.feed_data(head)
        except HttpProcessingError as error:
            raise refusal(head, error, self._settings) from error
        # The parser accepts RTSP and ICE as HTTP, and finds no message in the preface of HTTP/2.
        if len(messages) != 1 or not head.startswith(b"HTTP/", head.find(_LINE_END) - 8):
            raise hopeless(head, self._settings) or RefusedError(400, "the request line is not valid HTTP/1.1")
        request: tuple[Message, StreamReader] = messages[0]
        return request

    def read(self, body: Body) -> bool:
        """Add received bytes to the last request's body; return whether it is complete.

        If it is not and `is_empty` is false, call again in a later turn of the loop. Raises RefusedError: 400, 413.
        """
        kept, at, left = self._kept, self._at, self._left
        if left is None:
            return self._read_chunks(body)
        self._at = end = min(len(kept), at + left)
        self._left = left = left - (end - at)
        if left:  # its pieces are joined later, so a slice would be one copy more
            body.add(memoryview(kept)[at:])
            return False
        body.add(kept[at:end])
        return True

    def _read_chunks(self, body: Body) -> bool:
        piece = self._kept[self._at : self._at + TURN_BYTES]
        self._at += len(piece)
        try:
            self._parser.feed_data(piece)
        except HttpProcessingError as error:
            body.add(self._stream.read_nowait())  # this part may already be over the limit, which comes first
            raise RefusedError(400, f"the body is malformed: {reason(error)}") from error
        body.add(self._stream.read_nowait())
        return self._stream.is_eof()

    def may_go_on(self, request: Request) -> bool:
        """Return whether another request may follow. The result must not depend on how the bytes were split.

        Not after a chunked body: aiohttp 3.14.5 reads the fields of its trailer as headers of the next request, which
        behind a proxy that shares connections may be another client's. Not after a body that was not read, even if it
        has arrived.
        """
        return request.stays_open and self._left == 0

    def _new_parser(self) -> Any:  # HttpRequestParser, whose annotations do not hold: a tuple may come for a list
        settings = self._settings
        return HttpRequestParser(
            _FLOW,  # type: ignore[arg-type]  # a body uses only these two methods of a protocol
            self._loop,
            _UNLIMITED_BYTES,
            max_line_size=settings.max_line_bytes,
            max_field_size=settings.max_field_bytes,
            max_headers=settings.max_headers,
            auto_decompress=False,
            max_msg_queue_size=1,  # it stops behind a chunked body
        )


def _stays_open(message: Message) -> bool:
    """Whether the client wants to go on. In HTTP/1.0 the parser overlooks `close` beside `keep-alive`."""
    if message.should_close:
        return False
    return message.version != HttpVersion10 or "close" not in ",".join(message.headers.getall(CONNECTION, ())).lower()
