"""Why a head is refused: the status and the reason. Pure.

The parser gets a head only when it is complete; `hopeless` refuses earlier what can never become valid. How the bytes
were split must not matter, so of several faults the one at the lowest offset counts.
"""

import re

from aiohttp.http_exceptions import BadHttpMethod, HttpProcessingError, InvalidURLError, LineTooLong

from triggers.http.errors import RefusedError
from triggers.http.grammar import TCHAR
from triggers.http.settings import METHODS, HttpSettings

_TOKEN = TCHAR.encode()
_METHOD_BYTES = 64
"""Longer than any registered method."""
_METHOD = re.compile(_TOKEN + rb"{0,%d}" % _METHOD_BYTES)
_TARGET = re.compile(_TOKEN + rb"+ +([^ \r\n]*)")
_BARE_LF = re.compile(rb"(?<!\r)\n")
_REQUEST_LINE = re.compile(rb"(" + _TOKEN + rb"{1,%d}) +([\x21-\x7e]+)" % _METHOD_BYTES)
_TLS_HANDSHAKE = 0x16


def hopeless(head: bytes, settings: HttpSettings, since: int = 0) -> RefusedError | None:
    """Return the first fault of an incomplete head, or of one that the parser refused; None if there is none yet.

    The bytes before `since` were checked by an earlier call.
    """
    faults = (_method(head), _line_end(head, since), _target(head, settings), _size(head, settings))
    found = [fault for fault in faults if fault]
    return min(found, key=lambda fault: fault[0])[1] if found else None


def refusal(head: bytes, error: HttpProcessingError, settings: HttpSettings) -> RefusedError:
    """Return why the parser refused a complete head."""
    if (first := hopeless(head, settings)) is not None:
        return first
    if isinstance(error, LineTooLong):
        return RefusedError(431, f"a header is longer than {settings.max_field_bytes} bytes")
    if head.count(b"\r\n") - 2 > settings.max_headers:
        return RefusedError(431, f"the request has more than {settings.max_headers} headers")
    if isinstance(error, BadHttpMethod):
        return _unknown(request_line(head)[0])
    return RefusedError(400, f"the request is not valid HTTP/1.1: {reason(error)}")


def reason(error: HttpProcessingError) -> str:
    """Return the parser's message without the bytes that it quotes, which may be secret and would reach logs."""
    if isinstance(error, InvalidURLError):
        return "the request target is malformed"
    return error.message.removeprefix("Bad status line:\n").strip().partition("\n")[0].partition(": ")[0].rstrip(":.")


def request_line(head: bytes) -> tuple[str, str]:
    """Return (method, target) of a refused request; empty if they cannot be read."""
    match = _REQUEST_LINE.match(head)
    return (match[1].decode(), match[2].decode()) if match else ("", "")


_Fault = tuple[int, RefusedError] | None
"""The offset of a fault, and its refusal."""


def _method(head: bytes) -> _Fault:
    match = _METHOD.match(head)
    assert match is not None, "the pattern also matches nothing"
    end = match.end()
    if end == len(head) or (end and head[end] == ord(" ")):
        return None
    if end == _METHOD_BYTES and re.match(_TOKEN, head[end : end + 1]):
        return end, _unknown("")
    if head[0] == _TLS_HANDSHAKE:
        return end, RefusedError(400, "this looks like TLS, but this port speaks plain HTTP")
    return end, RefusedError(400, "the request does not start with a method and a space")


def _unknown(method: str) -> RefusedError:
    if method.upper() in METHODS:
        return RefusedError(400, f"write the method in capitals: {method.upper()}")
    return RefusedError(501, "unknown method")


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
