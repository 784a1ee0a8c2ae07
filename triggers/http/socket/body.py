"""A request's body, limited by its route and by the memory that all connections share. No I/O."""

from aiohttp.streams import StreamReader

from triggers.http.errors import RETRY_SOON, RefusedError
from triggers.http.socket.budget import UNCOUNTED_BYTES, Budget


class Body:
    """Collects a body of at most `limit_bytes` from the parser's stream, and takes its memory from a budget."""

    __slots__ = ("_budget", "_first", "_held_bytes", "_limit_bytes", "_rest", "_stream", "size_bytes")

    def __init__(self, stream: StreamReader, limit_bytes: int, budget: Budget) -> None:
        self._stream = stream
        self._limit_bytes = limit_bytes
        self._budget = budget
        self._held_bytes = 0
        self.size_bytes = 0
        self._first = b""
        self._rest = bytearray()
        """One buffer: a list would cost 33 bytes for each piece, and a client may send two bytes at a time."""

    def pull(self) -> bool:
        """Take what the parser has; return whether the body is complete.

        Raises RefusedError: 413 over the limit, 503 over the budget.
        """
        block = self._stream.read_nowait()
        self.size_bytes += len(block)
        if self.size_bytes > self._limit_bytes:
            raise RefusedError(413, f"the body is larger than {self._limit_bytes} bytes")
        if self.size_bytes > UNCOUNTED_BYTES:
            self._hold()
        if self._first:
            self._rest += block
        else:
            self._first = block
        return self._stream.is_eof()

    def whole(self) -> bytes:
        """The body as received, once `pull` has returned True."""
        return self._first + self._rest if self._rest else self._first

    def release(self) -> None:
        """Drop the body and give its memory back."""
        self._budget.give_back(self._held_bytes)
        self._held_bytes = 0
        self._first = b""
        self._rest = bytearray()

    def _hold(self) -> None:
        if not self._budget.take(self.size_bytes - self._held_bytes, held_bytes=self._held_bytes):
            raise RefusedError(503, "the server holds too many request bodies (max_bodies)", headers=RETRY_SOON)
        self._held_bytes = self.size_bytes


def check_announced(length: int | None, limit_bytes: int) -> None:
    """Raise RefusedError (413) for an announced length over the limit, before `100 Continue` and the first byte."""
    if length is not None and length > limit_bytes:
        raise RefusedError(413, f"the body is larger than {limit_bytes} bytes")
