"""Memory that all connections share: what each holds is counted, and refused when all of it is held."""

import logging

log = logging.getLogger(__name__)

UNCOUNTED_BYTES = 64 * 1024
"""What any connection may hold beside: most answers and bodies are smaller, and cost no counting."""


class Budget:
    """At most `limit_bytes`, but for one holder who is alone: else what is larger than that would never be served."""

    __slots__ = ("_limit_bytes", "_said", "_setting", "_used_bytes", "_what")

    def __init__(self, limit_bytes: int, *, setting: str, what: str) -> None:
        """`setting` and `what` are for the log."""
        self._limit_bytes = limit_bytes
        self._setting = setting
        self._what = what
        self._used_bytes = 0
        self._said = False

    @property
    def used_bytes(self) -> int:
        return self._used_bytes

    def take(self, more_bytes: int, *, held_bytes: int = 0) -> bool:
        """Whether who holds `held_bytes` may hold that much more."""
        if self._used_bytes + more_bytes > self._limit_bytes and self._used_bytes > held_bytes:
            self._say()
            return False
        self._used_bytes += more_bytes
        return True

    def give_back(self, size_bytes: int) -> None:
        self._used_bytes -= size_bytes
        if self._used_bytes < self._limit_bytes // 2:
            self._said = False

    def _say(self) -> None:
        """Once, until half of it is free again."""
        if not self._said:
            self._said = True
            log.warning(
                "%s take all of the %d bytes that http.%s allows: requests get 503 until some are free",
                self._what,
                self._limit_bytes,
                self._setting,
            )
