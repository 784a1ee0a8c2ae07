"""Cuts what a client of the Runtime API sends into HTTP/1.1 requests, and writes the answers (RFC 9112). Pure.

The client is the function's own command, or a process below it. What it sends is bounded all the same: by the memory
that a reply may take, since all of a body is kept until it is complete.
"""

from collections.abc import Generator
from typing import NamedTuple

MAX_HEAD_BYTES = 2 * 1024 * 1024
"""AWS's own clients send up to 1 MiB in one header (`Lambda-Runtime-Function-XRay-Error-Cause`)."""
_MAX_LINE_BYTES = 4 * 1024
"""of the size of a chunk"""
_REASONS = {
    200: "OK",
    202: "Accepted",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    413: "Content Too Large",
}
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Request(NamedTuple):
    """A complete request. `headers` have lower-case names; those of a trailer are among them."""

    method: str
    path: str
    """with its query"""
    headers: "dict[str, str]"
    body: "bytes | None"
    """None: it was larger than allowed, and was dropped"""
    keeps_alive: bool


class Malformed(Exception):
    """This is no HTTP/1.1 request. Nothing that follows on the connection can be read."""


class Requests:
    """The requests of one connection. A body has at most `most_bytes`."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._buffer = bytearray()
        self._parsing = self._parse()
        self.awaits_continue = False
        """Whether the client waits for CONTINUE before it sends the body; the caller resets this."""
        next(self._parsing)

    def feed(self, data: bytes) -> "list[Request]":
        """The requests that `data` completes. Raises Malformed."""
        self._buffer += data
        found = []
        while (request := self._parsing.send(None)) is not None:
            found.append(request)
        return found

    def _parse(self) -> "Generator[Request | None, None, None]":
        """Yields each request, and None whenever it needs more bytes."""
        yield None
        while True:
            lines = (
                (yield from self._until(b"\r\n\r\n", MAX_HEAD_BYTES)).lstrip(b"\r\n").decode("latin-1").split("\r\n")
            )
            method, path, version = _request_line(lines[0])
            headers = _headers(lines[1:])
            self.awaits_continue = headers.get("expect", "").lower() == "100-continue"
            if headers.get("transfer-encoding", "").lower() == "chunked":
                body = yield from self._chunks(headers)
            elif "transfer-encoding" in headers:
                raise Malformed(f"the Transfer-Encoding {headers['transfer-encoding']:.40} is not supported")
            else:
                body = yield from self._bytes(_length(headers.get("content-length", "0"), 10), b"")
            self.awaits_continue = False
            kept = headers.get("connection", "").lower()
            keeps_alive = kept == "keep-alive" if version == "HTTP/1.0" else kept != "close"
            yield Request(method, path, headers, body, keeps_alive)

    def _until(self, end: bytes, most_bytes: int) -> "Generator[Request | None, None, bytes]":
        """The bytes up to `end`, which are consumed with it."""
        at, seen = -1, 0
        while (at := self._buffer.find(end, max(0, seen - len(end)))) < 0:
            seen = len(self._buffer)
            if seen > most_bytes:
                raise Malformed(f"a head or line of more than {most_bytes} bytes")
            yield None
        found = bytes(self._buffer[:at])
        del self._buffer[: at + len(end)]
        return found

    def _bytes(self, count: int, before: "bytes | None") -> "Generator[Request | None, None, bytes | None]":
        """The next `count` bytes behind those `before`; None if they are too many together."""
        if before is None or len(before) + count > self._most_bytes:
            while count:
                dropped = min(count, len(self._buffer))
                del self._buffer[:dropped]
                count -= dropped
                if count:
                    yield None
            return None
        while len(self._buffer) < count:
            yield None
        found = bytes(self._buffer[:count])
        del self._buffer[:count]
        return before + found if before else found

    def _chunks(self, headers: "dict[str, str]") -> "Generator[Request | None, None, bytes | None]":
        """A chunked body; the fields of its trailer are added to the headers."""
        parts: list[bytes] | None = []
        total = 0
        while True:
            line = yield from self._until(b"\r\n", _MAX_LINE_BYTES)
            size = _length(line.partition(b";")[0].strip().decode("latin-1"), 16)
            if size == 0:
                break
            total += size
            if total > self._most_bytes:
                parts = None
            part = yield from self._bytes(size, None if parts is None else b"")
            if parts is not None and part is not None:
                parts.append(part)
            if (yield from self._until(b"\r\n", _MAX_LINE_BYTES)):
                raise Malformed("a chunk that is longer than its size says")
        trailer = []
        while line := (yield from self._until(b"\r\n", MAX_HEAD_BYTES)):
            trailer.append(line.decode("latin-1"))
        headers.update(_headers(trailer))
        return None if parts is None else b"".join(parts)


def response(status: int, body: bytes = b"", headers: "tuple[tuple[str, str], ...]" = ()) -> bytes:
    """An answer with a JSON body."""
    lines = [f"HTTP/1.1 {status} {_REASONS[status]}", f"Content-Length: {len(body)}", "Content-Type: application/json"]
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join((*lines, "", "")).encode("latin-1", "replace") + body


def _request_line(line: str) -> "tuple[str, str, str]":
    parts = line.split(" ")
    if len(parts) != 3 or parts[2] not in ("HTTP/1.1", "HTTP/1.0") or not parts[0].isalpha():
        raise Malformed(f"{line!r:.80} is no request line")
    return parts[0], parts[1], parts[2]


def _headers(lines: "list[str]") -> "dict[str, str]":
    found: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise Malformed(f"{line!r:.80} is no header")
        found[name.lower()] = value.strip()
    return found


def _length(text: str, base: int) -> int:
    if not text.isalnum() or not text.isascii():
        raise Malformed(f"{text!r:.40} is no length")
    try:
        return int(text, base)
    except ValueError:
        raise Malformed(f"{text!r:.40} is no length") from None
