"""An answer to a client: status, headers and body, and their HTTP/1.1 bytes. Pure."""

import os
import re
from functools import lru_cache
from http import HTTPStatus

from msgspec import Struct

from triggers.http.errors import HttpTriggerError
from triggers.http.grammar import FORBIDDEN_IN_VALUE, TOKEN

HeaderLines = tuple[tuple[str, str], ...]
"""Names and values, in order."""

_CONNECTION_HEADERS = frozenset(
    ("connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade")
)
_OURS = frozenset(("content-length", "date", "server", "x-forklight-id", "x-forklight-start", "x-forklight-version"))
DROPPED = _CONNECTION_HEADERS | _OURS
"""Headers that a handler cannot set: hop-by-hop ones (RFC 9110 §7.6.1), and those that the trigger writes."""

_BODILESS = frozenset((204, 205, 304))
_LENGTHLESS = frozenset((204, 304))
_LENGTH = re.compile(r"[0-9]{1,18}", re.ASCII)

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class InvalidHeaderError(HttpTriggerError):
    """A handler's header that could split the answer in two, so it is not written."""


class Content(Struct, frozen=True, gc=False):
    """A body that stays in its file: `size_bytes` of an open file from `start`. Its last owner closes it."""

    descriptor: int
    start: int
    size_bytes: int

    def read(self, offset: int, most_bytes: int) -> bytes:
        """Read up to `most_bytes` at `offset` of the content; empty at its end or on an error. Blocks."""
        try:
            return os.pread(self.descriptor, min(most_bytes, self.size_bytes - offset), self.start + offset)
        except OSError:
            return b""

    def close(self) -> None:
        os.close(self.descriptor)


class Answer(Struct, frozen=True, gc=False):
    """`headers` are written in order and never merged, as `set-cookie` needs. `last`: the connection closes after it.

    `content` replaces `body`. `reason` (one word) and `detail` explain the status in the record.
    """

    status: int
    headers: HeaderLines = ()
    body: bytes = b""
    last: bool = False
    content: Content | None = None
    reason: str = ""
    detail: str = ""
    announced_bytes: int | None = None
    """For an answer to HEAD: the length of the answer to GET, if known."""
    own: str = ""
    """Header lines of ours, each with its CRLF, written after `headers`."""

    @property
    def own_headers(self) -> HeaderLines:
        """`own` as names and values."""
        pairs = (line.partition(": ") for line in self.own.splitlines())
        return tuple((name, value) for name, _, value in pairs)


def safe_headers(headers: HeaderLines, content_type: str | None) -> HeaderLines:
    """Drop the headers that a handler cannot set, and add `content_type` unless a header has one.

    Raises InvalidHeaderError for a name that is not a token or a value with control characters (RFC 9110 §5).
    """
    if not headers:
        return _only_content_type(content_type)
    kept = headers
    if content_type is not None and not any(name.lower() == "content-type" for name, _ in headers):
        kept = (("content-type", content_type), *headers)
    for name, value in kept:
        _check(name, value)
    return tuple((name, value) for name, value in kept if name.lower() not in DROPPED)


@lru_cache(maxsize=256)
def _only_content_type(content_type: str | None) -> HeaderLines:
    """The headers of nearly every outcome. Cached, because checking them costs as much as encoding them."""
    if content_type is None:
        return ()
    _check("content-type", content_type)
    return (("content-type", content_type),)


def _check(name: str, value: str) -> None:
    if not TOKEN.fullmatch(name) or FORBIDDEN_IN_VALUE.search(value):
        raise InvalidHeaderError(f"the handler's header {name!r} contains characters that are not allowed in a header")


def encode_answer(answer: Answer, *, method: str, connection: str, date: str) -> tuple[bytes, bytes]:
    """Return (head, body). `connection` is "" or a header line with CRLF; `date` is the value of the Date header.

    Answers to HEAD, and 204, 205 and 304, have no body (RFC 9110 §6.4.1, §15.3.6).
    """
    status = answer.status
    body = answer.body
    headers = answer.headers
    start = _cached_start(status, headers) if len(headers) == 1 else _start(status, headers)
    if method == "HEAD" or status in _BODILESS:
        size_bytes, body = _bodiless_length(answer, method), b""
    else:
        size_bytes = len(body) if answer.content is None else answer.content.size_bytes
    length = "" if size_bytes is None else f"content-length: {size_bytes}\r\n"
    return f"{start}{answer.own}{length}date: {date}\r\n{connection}\r\n".encode(), body


def _start(status: int, headers: HeaderLines) -> str:
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers])
    return f"{_STATUS_LINES.get(status) or _status_line(status)}{lines}"


_cached_start = lru_cache(maxsize=256)(_start)
"""For answers with a single header, which is nearly always a content type."""


def _bodiless_length(answer: Answer, method: str) -> int | None:
    """The Content-Length of an answer without a body: for HEAD that of the answer to GET, if known (RFC 9110 §8.6)."""
    if answer.status in _BODILESS:
        return None if answer.status in _LENGTHLESS else 0
    if answer.content is not None:
        return answer.content.size_bytes
    return len(answer.body) or answer.announced_bytes


def announced_length(headers: HeaderLines) -> int | None:
    """The Content-Length among a handler's headers, if it is valid."""
    for name, value in headers:
        if name.lower() == "content-length" and _LENGTH.fullmatch(value):
            return int(value)
    return None


def _status_line(status: int) -> str:
    phrase = HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else ""
    return f"HTTP/1.1 {status} {phrase}\r\nserver: forklight\r\n"


_STATUS_LINES = {int(status): _status_line(int(status)) for status in HTTPStatus}
