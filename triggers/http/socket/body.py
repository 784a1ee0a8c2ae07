"""A request's body, limited by its route and by the memory that all connections share. No I/O."""

from triggers.http.errors import RETRY_SOON, RefusedError
from triggers.http.socket.budget import UNCOUNTED_BYTES, Budget

_SMALL_BYTES = 4096
"""Smaller pieces are joined at once: an object for each would cost a client who sends two bytes at a time only those
two, and the server a hundred."""


class Body:
    """Collects a body of at most `limit_bytes`, and takes its memory from a budget.

    The pieces stay as they were received until the body is complete, so that each byte is copied once.
    """

    __slots__ = ("_budget", "_held_bytes", "_limit_bytes", "_pieces", "size_bytes")

    def __init__(self, limit_bytes: int, budget: Budget) -> None:
        self._limit_bytes = limit_bytes
        self._budget = budget
        self._held_bytes = 0
        self._pieces: list[bytes | bytearray | memoryview] = []
        self.size_bytes = 0

    def add(self, piece: bytes | memoryview) -> None:
        """Append received bytes. Raises RefusedError: 413 over the limit, 503 over the budget."""
        self.size_bytes += len(piece)
        if self.size_bytes > self._limit_bytes:
            raise RefusedError(413, f"the body is larger than {self._limit_bytes} bytes")
        if self.size_bytes > UNCOUNTED_BYTES:
            self._hold()
        pieces = self._pieces
        if len(piece) >= _SMALL_BYTES or not pieces:
            pieces.append(piece)
        elif isinstance(last := pieces[-1], bytearray):
            last += piece
        else:
            pieces.append(bytearray(piece))

    def whole(self) -> bytes:
        """Return the complete body, once: it is not kept here any longer, but counts until `release`."""
        pieces, self._pieces = self._pieces, []
        if len(pieces) == 1 and isinstance(only := pieces[0], bytes):
            return only
        return b"".join(pieces)

    def release(self) -> None:
        """Drop the body and give its memory back."""
        self._budget.give_back(self._held_bytes)
        self._held_bytes = 0
        self._pieces = []

    def _hold(self) -> None:
        if not self._budget.take(self.size_bytes - self._held_bytes, held_bytes=self._held_bytes):
            raise RefusedError(503, "the server holds too many request bodies (max_bodies)", headers=RETRY_SOON)
        self._held_bytes = self.size_bytes


def check_announced(length: int | None, limit_bytes: int) -> None:
    """Raise RefusedError (413) for an announced length over the limit, before `100 Continue` and the first byte."""
    if length is not None and length > limit_bytes:
        raise RefusedError(413, f"the body is larger than {limit_bytes} bytes")
