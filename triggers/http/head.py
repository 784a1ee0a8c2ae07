"""Checks a request line and its headers, more strictly than the parser.

Nothing is normalised: a request that two programs in a row could read differently is refused (RFC 9112 §11).
"""

from collections.abc import Iterable

from msgspec import Struct

from bus.event import Headers
from triggers.http.errors import RefusedError
from triggers.http.grammar import is_host
from triggers.http.settings import METHODS

_FRAMING = frozenset({"transfer-encoding", "content-length", "host", "connection", "expect"})
"""A proxy that reads `_` as `-` would frame or route a request with these names differently."""

_METHODS = frozenset((*METHODS, "TRACE"))
"""The known methods. A route may name any of them but TRACE, which is always 405."""


class Head(Struct, frozen=True, gc=False):
    """`path` is as received, percent-encoded, without the query; header names are in lower case."""

    method: str
    path: str
    query: str
    host: str
    headers: Headers


def parse_head(method: str, target: str, version: tuple[int, int], headers: Iterable[tuple[str, str]]) -> Head:
    """Raises RefusedError: 400 if malformed, 417 for an unknown expectation, 501 for an unknown method or coding."""
    if version not in ((1, 1), (1, 0)):
        raise RefusedError(400, "the request must be HTTP/1.1 or HTTP/1.0")
    if not target.isascii() or "#" in target:
        raise RefusedError(400, "the request target must be percent-encoded and have no fragment")
    if method not in _METHODS:
        raise RefusedError(501, "this server is not a proxy" if method == "CONNECT" else "unknown method")
    joined = join_headers(headers)
    if version == (1, 0):
        # Such a client does not know the status 100 (RFC 9110 §10.1.1).
        joined.pop("expect", None)
    if "transfer-encoding" in joined or "expect" in joined:
        _check_framing(joined, version)
    host = joined.get("host", "")
    if not is_host(host):
        raise RefusedError(400, "the Host header is malformed")
    if not target.startswith("/") and target != "*":
        host, target = _split_absolute(target)
        joined["host"] = host
        if not is_host(host):
            raise RefusedError(400, "the host of the request target is malformed")
    path, _, query = target.partition("?")
    return Head(method, path, query, host, joined)


def join_headers(headers: Iterable[tuple[str, str]]) -> Headers:
    """Lower-case the names and join values of the same name (RFC 9110 §5.3; for cookies, RFC 9113 §8.2.3).

    A value that is not UTF-8 is read as Latin-1. Raises RefusedError (400) for a look-alike of a framing header.
    """
    joined: Headers = {}
    for cased, value in headers:
        name = cased.lower()
        text = value if value.isascii() else _repair(value)
        if name in joined:
            text = joined[name] + ("; " if name == "cookie" else ", ") + text
        elif "_" in name and name.replace("_", "-") in _FRAMING:
            raise RefusedError(400, f"the header {name!r} could be mistaken for {name.replace('_', '-')!r}")
        joined[name] = text
    return joined


def expects_continue(headers: Headers) -> bool:
    """Whether the client waits for `100 Continue` before sending the body (RFC 9110 §10.1.1)."""
    return "expect" in headers


def _check_framing(headers: Headers, version: tuple[int, int]) -> None:
    coding = headers.get("transfer-encoding")
    if coding is not None:
        if version == (1, 0):
            raise RefusedError(400, "HTTP/1.0 does not allow Transfer-Encoding")
        if "content-length" in headers:
            raise RefusedError(400, "Transfer-Encoding and Content-Length cannot be combined")
        if coding.lower() != "chunked":
            raise RefusedError(501, "the only supported Transfer-Encoding is 'chunked'")
    expect = headers.get("expect")
    if expect is not None and expect.lower() != "100-continue":
        raise RefusedError(417, "the only supported expectation is '100-continue'")


def _split_absolute(target: str) -> tuple[str, str]:
    """`http://host/path` → (host, /path). This host overrides the Host header (RFC 9112 §3.2.2)."""
    scheme, separator, rest = target.partition("://")
    if scheme.lower() not in ("http", "https") or not separator:
        raise RefusedError(400, "the request target must start with a slash")
    end = min((rest.find(mark) for mark in "/?" if mark in rest), default=len(rest))
    host, path = rest[:end], rest[end:]
    if not host:
        raise RefusedError(400, "the request target has no host")
    return host, path if path.startswith("/") else "/" + path


def _repair(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode(errors="surrogateescape").decode("latin-1")
    return value
