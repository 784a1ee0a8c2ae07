"""A request's body, limited by its route and by the memory that all connections share. No I/O."""

from bus.pieces import Pieces
from triggers.http.errors import RETRY_SOON, RefusedError
from triggers.http.socket.budget import UNCOUNTED_BYTES, Budget


class Body:
    """Collects a body of at most `limit_bytes`, and takes its memory from a budget."""

    __slots__ = ("_budget", "_held_bytes", "_limit_bytes", "_pieces", "size_bytes")

    def __init__(self, limit_bytes: int, budget: Budget) -> None:
        self._limit_bytes = limit_bytes
        self._budget = budget
        self._held_bytes = 0
        self._pieces = Pieces()
        self.size_bytes = 0

    def add(self, piece: bytes | memoryview) -> None:
        """Append received bytes. Raises RefusedError: 413 over the limit, 503 over the budget."""
        self.size_bytes += len(piece)
        if self.size_bytes > self._limit_bytes:
            raise RefusedError(413, f"the body is larger than {self._limit_bytes} bytes")
        if self.size_bytes > UNCOUNTED_BYTES:
            self._hold()
        self._pieces.add(piece)

    def whole(self) -> bytes:
        """Return the complete body, once: it is not kept here any longer, but counts until `release`."""
        return self._pieces.take()

    def release(self) -> None:
        """Drop the body and give its memory back."""
        self._budget.give_back(self._held_bytes)
        self._held_bytes = 0
        self._pieces = Pieces()

    def _hold(self) -> None:
        if not self._budget.take(self.size_bytes - self._held_bytes, held_bytes=self._held_bytes):
            raise RefusedError(503, "the server holds too many request bodies (max_bodies)", headers=RETRY_SOON)
        self._held_bytes = self.size_bytes


def check_announced(length: int | None, limit_bytes: int) -> None:
    """Raise RefusedError (413) for an announced length over the limit, before `100 Continue` and the first byte."""
    if length is not None and length > limit_bytes:
        raise RefusedError(413, f"the body is larger than {limit_bytes} bytes")
