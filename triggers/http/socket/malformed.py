"""Why a request is refused before anything of it is believed: the status and the reason that its client is told. Pure.

The parser sees a head only once it is complete. What can never become a good one is refused earlier, by `hopeless`. It
must not matter how the bytes were cut into segments, so a fault counts by its place: of several, the first one.
"""

import re

from aiohttp.http_exceptions import BadHttpMethod, HttpProcessingError, InvalidURLError, LineTooLong

from triggers.http.errors import RefusedError
from triggers.http.grammar import TCHAR
from triggers.http.settings import METHODS, HttpSettings

_TOKEN = TCHAR.encode()
_METHOD_BYTES = 64
"""Longer than any method there is."""
_METHOD = re.compile(_TOKEN + rb"{0,%d}" % _METHOD_BYTES)
_TARGET = re.compile(_TOKEN + rb"+ +([^ \r\n]*)")
_BARE_LF = re.compile(rb"(?<!\r)\n")
_REQUEST_LINE = re.compile(rb"(" + _TOKEN + rb"{1,%d}) +([\x21-\x7e]+)" % _METHOD_BYTES)
_TLS_HANDSHAKE = 0x16


def hopeless(head: bytes, settings: HttpSettings, since: int = 0) -> RefusedError | None:
    """The first fault of a head that has only begun, or of one that the parser refused; None: it has none yet.

    Up to `since` there was none when it was last looked at.
    """
    faults = (_method(head), _line_end(head, since), _target(head, settings), _size(head, settings))
    found = [fault for fault in faults if fault]
    return min(found, key=lambda fault: fault[0])[1] if found else None


def refusal(head: bytes, error: HttpProcessingError, settings: HttpSettings) -> RefusedError:
    """For a complete head that the parser refused."""
    if (first := hopeless(head, settings)) is not None:
        return first
    if isinstance(error, LineTooLong):
        return RefusedError(431, f"a header is longer than {settings.max_field_bytes} bytes")
    if head.count(b"\r\n") - 2 > settings.max_headers:
        return RefusedError(431, f"the request has more than {settings.max_headers} headers")
    if isinstance(error, BadHttpMethod):
        return _unknown(request_line(head)[0])
    return RefusedError(400, f"the request is not well-formed HTTP/1.1: {reason(error)}")


def reason(error: HttpProcessingError) -> str:
    """The parser's own words, without the bytes that it quotes: they may be secret, and reach logs."""
    if isinstance(error, InvalidURLError):
        return "the request target is malformed"
    return error.message.removeprefix("Bad status line:\n").strip().partition("\n")[0].partition(": ")[0].rstrip(":.")


def request_line(head: bytes) -> tuple[str, str]:
    """(method, target) of a request that was refused, as far as they can be told; else empty."""
    match = _REQUEST_LINE.match(head)
    return (match[1].decode(), match[2].decode()) if match else ("", "")


_Fault = tuple[int, RefusedError] | None
"""Where it is, and what is to be said of it."""


def _method(head: bytes) -> _Fault:
    match = _METHOD.match(head)
    assert match is not None, "it takes nothing too"
    end = match.end()
    if end == len(head) or (end and head[end] == ord(" ")):
        return None
    if end == _METHOD_BYTES and re.match(_TOKEN, head[end : end + 1]):
        return end, _unknown("")
    if head[0] == _TLS_HANDSHAKE:
        return end, RefusedError(400, "this looks like TLS, and the port speaks plain HTTP")
    return end, RefusedError(400, "the request does not begin with a method and a space")


def _unknown(method: str) -> RefusedError:
    if method.upper() in METHODS:
        return RefusedError(400, f"methods are written in capitals: {method.upper()}")
    return RefusedError(501, "the method is unknown")


def _line_end(head: bytes, since: int) -> _Fault:
    match = _BARE_LF.search(head, since)
    return (match.start(), RefusedError(400, "a line ends in LF without CR")) if match else None


def _target(head: bytes, settings: HttpSettings) -> _Fault:
    match = _TARGET.match(head) if len(head) > settings.max_line_bytes else None
    if match is None or len(match[1]) <= settings.max_line_bytes:
        return None
    detail = f"the request target is longer than {settings.max_line_bytes} bytes"
    return match.start(1) + settings.max_line_bytes, RefusedError(414, detail)


def _size(head: bytes, settings: HttpSettings) -> _Fault:
    if len(head) <= settings.max_head_bytes:
        return None
    detail = f"the request line and the headers are longer than {settings.max_head_bytes} bytes"
    return settings.max_head_bytes, RefusedError(431, detail)
