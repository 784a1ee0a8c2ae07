"""A limit on memory that all connections share."""

import logging

log = logging.getLogger(__name__)

UNCOUNTED_BYTES = 64 * 1024
"""What a connection may hold without being counted: most answers and bodies are smaller."""


class Budget:
    """At most `limit_bytes`. A single holder may exceed it: otherwise nothing larger could ever be served."""

    __slots__ = ("_limit_bytes", "_setting", "_used_bytes", "_warned", "_what")

    def __init__(self, limit_bytes: int, *, setting: str, what: str) -> None:
        """`setting` and `what` appear in the log."""
        self._limit_bytes = limit_bytes
        self._setting = setting
        self._what = what
        self._used_bytes = 0
        self._warned = False

    @property
    def used_bytes(self) -> int:
        return self._used_bytes

    def take(self, more_bytes: int, *, held_bytes: int = 0) -> bool:
        """Whether a holder of `held_bytes` gets `more_bytes`, which then count as used."""
        if self._used_bytes + more_bytes > self._limit_bytes and self._used_bytes > held_bytes:
            self._warn()
            return False
        self._used_bytes += more_bytes
        return True

    def give_back(self, size_bytes: int) -> None:
        self._used_bytes -= size_bytes
        if self._used_bytes < self._limit_bytes // 2:
            self._warned = False

    def _warn(self) -> None:
        """Log once, until half of the budget is free again."""
        if not self._warned:
            self._warned = True
            log.warning(
                "%s use all %d bytes of http.%s: requests get 503 until some are released",
                self._what,
                self._limit_bytes,
                self._setting,
            )
