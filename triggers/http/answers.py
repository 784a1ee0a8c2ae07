"""What goes back to the client: a status, headers, a body, and how they are written as HTTP/1.1 bytes. Pure."""

import os
import re
from functools import lru_cache
from http import HTTPStatus

from msgspec import Struct

from triggers.http.grammar import FORBIDDEN_IN_VALUE, TOKEN

HeaderLines = tuple[tuple[str, str], ...]
"""Names and values, in order."""

_CONNECTION_HEADERS = frozenset(
    ("connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade")
)
_OURS = frozenset(("content-length", "date", "server", "x-forklight-id", "x-forklight-start"))
DROPPED = _CONNECTION_HEADERS | _OURS
"""Never a handler's to set: hop-by-hop ones (RFC 9110 §7.6.1), and those that the trigger writes itself."""

_BODILESS = frozenset((204, 205, 304))
_LENGTHLESS = frozenset((204, 304))
_LENGTH = re.compile(r"[0-9]{1,18}", re.ASCII)

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class InvalidHeaderError(Exception):
    """A handler's header that must not be written: it could split the answer in two."""


class Content(Struct, frozen=True, gc=False):
    """A body too large to be held: `size_bytes` of an open file from `start` on. Whoever has it last closes it."""

    descriptor: int
    start: int
    size_bytes: int

    def read(self, offset: int, most_bytes: int) -> bytes:
        """Up to `most_bytes` from `offset` of the content on; nothing at its end or if it cannot be read. Blocks."""
        try:
            return os.pread(self.descriptor, min(most_bytes, self.size_bytes - offset), self.start + offset)
        except OSError:
            return b""

    def close(self) -> None:
        os.close(self.descriptor)


class Answer(Struct, frozen=True, gc=False):
    """`headers` are written as they stand, in order, so several `set-cookie` stay several. `last`: then close.

    `content` is instead of `body`. `reason` and `detail` are for the record: why it is this status, and in words.
    """

    status: int
    headers: HeaderLines = ()
    body: bytes = b""
    last: bool = False
    content: Content | None = None
    reason: str = ""
    detail: str = ""
    announced_bytes: int | None = None
    """For an answer to HEAD without a body: what the length of one to GET would be, if that is known."""


def safe_headers(headers: HeaderLines, content_type: str | None) -> HeaderLines:
    """A handler's headers without those it may not set. `content_type` counts unless a header says it.

    Raises InvalidHeaderError for a name that is no token or a value with control characters (RFC 9110 §5).
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
    """What nearly every outcome has, remembered, because checking it costs as much as encoding it."""
    if content_type is None:
        return ()
    _check("content-type", content_type)
    return (("content-type", content_type),)


def _check(name: str, value: str) -> None:
    if not TOKEN.fullmatch(name) or FORBIDDEN_IN_VALUE.search(value):
        raise InvalidHeaderError(f"the handler's header {name!r} has characters that a header cannot have")


def encode_answer(answer: Answer, *, method: str, connection: str, date: str) -> tuple[bytes, bytes]:
    """(head, body) as bytes. `connection` is "", or a whole header line ending in CRLF; `date` is its header's value.

    HEAD, 204, 205 and 304 have no body (RFC 9110 §6.4.1, §15.3.6).
    """
    status = answer.status
    body = answer.body
    lines = "".join([f"{name}: {value}\r\n" for name, value in answer.headers])
    if method == "HEAD" or status in _BODILESS:
        size_bytes, body = _told_length(answer, method), b""
    else:
        size_bytes = len(body) if answer.content is None else answer.content.size_bytes
    length = "" if size_bytes is None else f"content-length: {size_bytes}\r\n"
    head = f"{_STATUS_LINES.get(status) or _status_line(status)}{lines}{length}date: {date}\r\n{connection}\r\n"
    return head.encode(), body


def _told_length(answer: Answer, method: str) -> int | None:
    """The Content-Length of an answer without a body: with HEAD that of the answer to GET, or none (RFC 9110 §8.6)."""
    if answer.status in _BODILESS:
        return None if answer.status in _LENGTHLESS else 0
    if answer.content is not None:
        return answer.content.size_bytes
    return len(answer.body) or answer.announced_bytes


def announced_length(headers: HeaderLines) -> int | None:
    """The Content-Length among a handler's headers, if it is one."""
    for name, value in headers:
        if name.lower() == "content-length" and _LENGTH.fullmatch(value):
            return int(value)
    return None


def _status_line(status: int) -> str:
    phrase = HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else ""
    return f"HTTP/1.1 {status} {phrase}\r\nserver: forklight\r\n"


_STATUS_LINES = {int(status): _status_line(int(status)) for status in HTTPStatus}
