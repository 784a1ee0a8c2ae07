"""Reads a request's body, never more of it than the route takes. No I/O: it looks at what the parser has put there."""

from aiohttp.streams import StreamReader

from triggers.http.errors import RefusedError
from triggers.http.head import Head, content_length


class Body:
    """One body that comes in pieces, of which at most `limit_bytes` are taken."""

    __slots__ = ("_blocks", "_limit_bytes", "_size_bytes", "_stream")

    def __init__(self, stream: StreamReader, limit_bytes: int) -> None:
        self._stream = stream
        self._limit_bytes = limit_bytes
        self._size_bytes = 0
        self._blocks: list[bytes] = []

    def pull(self) -> bool:
        """Take what has come; whether that is the end. RefusedError: 413 over the limit."""
        block = self._stream.read_nowait()
        self._size_bytes += len(block)
        if self._size_bytes > self._limit_bytes:
            raise RefusedError(413, f"the body is over {self._limit_bytes} bytes")
        if block:
            self._blocks.append(block)
        return self._stream.is_eof()

    def whole(self) -> bytes:
        """As received, once `pull` has seen the end."""
        return self._blocks[0] if len(self._blocks) == 1 else b"".join(self._blocks)


def check_announced(head: Head, limit_bytes: int) -> None:
    """RefusedError, 413, for an announced length over the limit: before a byte is read and before `100 Continue`."""
    announced = content_length(head.headers)
    if announced is not None and announced > limit_bytes:
        raise RefusedError(413, f"the body is over {limit_bytes} bytes")
