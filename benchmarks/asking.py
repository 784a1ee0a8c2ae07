"""A client that asks while something else is measured, and knows its slowest answer."""

import contextlib
import threading
from collections.abc import Iterator

from benchmarks.http_servers import Client, Running


class Asking:
    """Asks for these paths in turn, with pauses between, from a thread of its own."""

    def __init__(self, server: Running, *paths: str, pause_s: float = 0) -> None:
        self._client = Client(server)
        self._paths = paths
        self._pause_s = pause_s
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self._slowest_ms = 0.0

    def _ask(self) -> None:
        while not self._ends.wait(self._pause_s):
            for path in self._paths:
                self._slowest_ms = max(self._slowest_ms, self._client.get(path).taken_ms)

    def slowest_ms(self) -> float:
        """Return how long the slowest answer has taken since this was last asked."""
        slowest_ms, self._slowest_ms = self._slowest_ms, 0.0
        return slowest_ms

    @contextlib.contextmanager
    def asking(self) -> Iterator[None]:
        """Ask within the block."""
        self._thread.start()
        try:
            yield
        finally:
            self._ends.set()
            self._thread.join()
            self._client.close()
