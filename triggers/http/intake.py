"""A connection's bytes on their way in: parsed into requests, or kept as they came while one is served.

The parser is aiohttp's C one, used directly. It gives a request as soon as its headers are complete, with a stream for
the body that may still come. How much of a client is held here is bounded without holding the client back while its
request is read: what is fed is read at once, up to the route's limit; and while a request is served nothing is fed, so
that there is never more than one read's worth of parsed requests, and of bytes `KEPT_BYTES` and one read.
"""

from asyncio import AbstractEventLoop
from collections import deque

from aiohttp.http_exceptions import HttpProcessingError, LineTooLong
from aiohttp.http_parser import HttpRequestParser, RawRequestMessage
from aiohttp.streams import StreamReader

from triggers.http.errors import RefusedError
from triggers.http.settings import HttpSettings

Request = tuple[RawRequestMessage, StreamReader]
"""What the parser said of it, and its body, which may not be complete."""

KEPT_BYTES = 64 * 1024
"""Of what a client sends on while its request is served; then the connection is not read."""

_PARSED_AHEAD = 32
"""Requests of one read that are parsed at once: each takes a hundred times the bytes that the shortest comes in."""

_UNLIMITED_BYTES = 2**30


class _Flow:
    """Whom a body asks to hold back the client. It never has to: see above."""

    def pause_reading(self) -> None:
        """More than `_UNLIMITED_BYTES` are unread, which cannot be."""

    def resume_reading(self, *, resume_parser: bool = True) -> None:
        """Said at each read."""


_FLOW = _Flow()


class Intake:
    """The requests of one connection, in order."""

    __slots__ = ("_kept", "_parser", "_requests", "_stopped", "_unfinished")

    def __init__(self, settings: HttpSettings, loop: AbstractEventLoop) -> None:
        self._parser = HttpRequestParser(
            _FLOW,  # type: ignore[arg-type]  # of a protocol, these two methods are all that a body uses
            loop,
            _UNLIMITED_BYTES,
            max_line_size=settings.max_line_bytes,
            max_field_size=settings.max_field_bytes,
            max_headers=settings.max_headers,
            auto_decompress=False,
            max_msg_queue_size=_PARSED_AHEAD,
        )
        self._requests: deque[Request] = deque()
        self._unfinished = 0
        self._stopped = False
        self._kept = b""

    def feed(self, data: bytes) -> bool:
        """Whether there is a request now. Raises RefusedError, after which nothing may be fed."""
        try:
            requests, upgraded, rest = self._parser.feed_data(data)
        except LineTooLong as error:
            raise RefusedError(431, "the request target or the headers are too long") from error
        except HttpProcessingError as error:
            raise RefusedError(400, "the request is not well-formed HTTP/1.1") from error
        if upgraded:  # no protocol is offered: its client is answered in this one, and goes on in it
            self._parser.set_upgraded(False)
            self._kept = rest + self._kept
        if requests:
            self._requests.extend(requests)
            self._unfinished += len(requests)
            self._stopped = self._unfinished >= _PARSED_AHEAD
        return bool(self._requests)

    def keep(self, data: bytes) -> bool:
        """Put it aside for later; whether that is enough for now."""
        self._kept += data
        return len(self._kept) >= KEPT_BYTES

    @property
    def is_behind(self) -> bool:
        """Whether something came that `catch_up` can feed, which must be fed before anything else is."""
        return bool(self._kept) or self._stopped

    def catch_up(self) -> bytes:
        """What was kept, to be fed even if it is empty: a parser that stopped has kept something too."""
        kept, self._kept, self._stopped = self._kept, b"", False
        return kept

    def take(self) -> Request:
        """The next request; one has come."""
        return self._requests.popleft()

    def finished(self) -> None:
        """The request last taken is complete and answered."""
        self._unfinished -= 1
        self._parser.message_consumed()

    def __bool__(self) -> bool:
        """Whether a request has come that is not taken."""
        return bool(self._requests)
