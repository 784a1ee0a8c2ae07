"""A connection's bytes on their way in: kept as they come, and cut into requests one at a time.

The parser is aiohttp's C one, used directly. It is given exactly one head at a time, and then exactly the body that the
head announces, so that what it says never depends on how the bytes came: fed a whole segment, it would drop the good
requests before a malformed one, everything behind an upgrade that nobody offers, and a body whose length is 2^64 - 1.
A chunked body ends where the parser says, which keeps to itself what follows: such a request is the last of its
connection. So is any whose framing is refused.

Kept are at most `KEPT_BYTES` and one read while a request is served, for then the connection is not read; and while one
comes in, a head up to its limit.
"""

from asyncio import AbstractEventLoop

from aiohttp.hdrs import CONNECTION, CONTENT_LENGTH
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpRequestParser, RawRequestMessage
from aiohttp.http_writer import HttpVersion10
from aiohttp.streams import StreamReader
from msgspec import Struct

from triggers.http.errors import RefusedError
from triggers.http.settings import HttpSettings
from triggers.http.socket.body import Body
from triggers.http.socket.malformed import hopeless, reason, refusal, request_line

KEPT_BYTES = 64 * 1024
"""Of what a client sends on while its request is served; then the connection is not read."""

TURN_BYTES = 16 * 1024
"""Of a chunked body, what is parsed at once: of chunks of one byte, a whole read would hold up everybody for long."""

_UNLIMITED_BYTES = 2**30
_END = b"\r\n\r\n"
_LINE_END = b"\r\n"


class Request(Struct, frozen=True, gc=False):
    """What the parser said, and how long the body is: 0 for none, None if only its end will tell (chunked)."""

    message: RawRequestMessage
    stream: StreamReader
    length: int | None


class _Flow:
    """Whom a body asks to hold back the client. It never has to: what is fed is read at once."""

    def pause_reading(self) -> None:
        """More than `_UNLIMITED_BYTES` are unread, which cannot be."""

    def resume_reading(self, *, resume_parser: bool = True) -> None:
        """Said at each read."""


_FLOW = _Flow()


class Intake:
    """The requests of one connection, in order."""

    __slots__ = ("_at", "_end", "_kept", "_left", "_loop", "_parser", "_seen", "_settings", "_upgraded")

    def __init__(self, settings: HttpSettings, loop: AbstractEventLoop) -> None:
        self._settings = settings
        self._loop = loop
        self._kept = b""
        self._at = self._end = self._seen = 0
        self._left: int | None = 0
        self._upgraded = False
        self._parser = self._new_parser()

    def keep(self, data: bytes) -> None:
        """More has come."""
        self._kept = data if self._at == len(self._kept) else self._kept[self._at :] + data
        self._end -= self._at
        self._at = 0

    @property
    def is_full(self) -> bool:
        """Whether enough is kept for now."""
        return len(self._kept) - self._at >= KEPT_BYTES

    @property
    def is_empty(self) -> bool:
        """Whether what comes next begins a request."""
        return self._at == len(self._kept)

    def is_ready(self) -> bool:
        """Whether there is a request to be taken, or to be refused."""
        kept, at = self._kept, self._at
        while at < len(kept) and kept[at] in _LINE_END:
            at += 1  # a server should ignore empty lines before a request (RFC 9112 §2.2)
        self._at = at
        if at == len(kept):
            return False
        seen = self._seen  # what comes byte by byte is not searched again and again
        self._end = end = kept.find(_END, at + seen - len(_END) if seen > len(_END) else at) + len(_END)
        if end >= len(_END):
            return True
        if at:
            self._kept, self._at = kept[at:], 0
        self._seen = len(self._kept)
        return hopeless(self._kept, self._settings, seen) is not None

    def begun_line(self) -> tuple[str, str]:
        """(method, target) of a request that has begun, as far as they have come."""
        return request_line(self._kept[self._at :])

    def take(self) -> Request:
        """The next request, once `is_ready`. Raises RefusedError, after which nothing may be taken."""
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
            self._left = None
        else:
            announced = message.headers.get(CONTENT_LENGTH)
            self._left = int(announced) if announced else 0
        self._upgraded = message.upgrade
        return Request(message, stream, self._left)

    def _parse(self, head: bytes) -> tuple[RawRequestMessage, StreamReader]:
        if self._upgraded:  # the old one takes what follows for another protocol's, and would swallow it
            self._parser = self._new_parser()
        try:
            messages, _, _ = self._parser.feed_data(head)
        except HttpProcessingError as error:
            raise refusal(head, error, self._settings) from error
        # It takes RTSP and ICE for HTTP too, and the preface of HTTP/2 for no message.
        if len(messages) != 1 or not head.startswith(b"HTTP/", head.find(_LINE_END) - 8):
            raise hopeless(head, self._settings) or RefusedError(400, "the request line is not that of HTTP/1.1")
        request: tuple[RawRequestMessage, StreamReader] = messages[0]
        return request

    def read(self, body: Body) -> bool:
        """Adds what has come of the last request's body; whether that is all. Raises RefusedError: 400, 413.

        Unless `is_empty` then, there is more to be read in a later turn of the loop.
        """
        kept, at = self._kept, self._at
        end = min(len(kept), at + (TURN_BYTES if self._left is None else self._left))
        piece = kept[at:end]
        self._at = end
        if self._left is not None:
            self._left -= len(piece)
        try:
            self._parser.feed_data(piece)
        except HttpProcessingError as error:
            body.pull()  # what came before the fault may be over the limit already
            raise RefusedError(400, f"the body is malformed: {reason(error)}") from error
        is_whole = body.pull()
        if is_whole != (self._left == 0) and self._left is not None:
            raise RefusedError(400, "the body is malformed")
        return is_whole

    def may_go_on(self, request: Request) -> bool:
        """Whether another request may follow this one. What decides must not depend on how the bytes were cut.

        Not after a chunked body: aiohttp 3.14.5 takes the fields of its trailer for headers of the next request, which
        behind a proxy that shares connections may be somebody else's. Not after a body that nobody wanted, even if it
        has come already.
        """
        message = request.message
        if message.should_close or self._left != 0:
            return False
        # In HTTP/1.0 the parser overlooks it beside keep-alive, on the same line or another one.
        return (
            message.version != HttpVersion10 or "close" not in ",".join(message.headers.getall(CONNECTION, ())).lower()
        )

    def _new_parser(self) -> HttpRequestParser:
        settings = self._settings
        return HttpRequestParser(
            _FLOW,  # type: ignore[arg-type]  # of a protocol, these two methods are all that a body uses
            self._loop,
            _UNLIMITED_BYTES,
            max_line_size=settings.max_line_bytes,
            max_field_size=settings.max_field_bytes,
            max_headers=settings.max_headers,
            auto_decompress=False,
            max_msg_queue_size=1,  # it stops behind a chunked body
        )
