"""Whether something goes on fast enough. Pure."""


class Pace:
    """Something must move every `timeout_s`, and on the whole `bytes_per_s`, for which it has `timeout_s` of credit.

    So a transfer may last as long as it makes progress, but a byte now and then is none. It is the rule of Apache's
    `RequestReadTimeout` with `MinRate`.
    """

    __slots__ = ("_bytes_per_s", "_start_bytes", "_start_s", "_timeout_s", "_total_bytes", "deadline_s")

    def __init__(self, now_s: float, timeout_s: float, bytes_per_s: float, total_bytes: int = 0) -> None:
        """`total_bytes`: so many had moved before."""
        self._start_s = now_s
        self._timeout_s = timeout_s
        self._bytes_per_s = bytes_per_s
        self._start_bytes = self._total_bytes = total_bytes
        self.deadline_s = now_s + timeout_s

    def moved(self, total_bytes: int, now_s: float) -> None:
        """So many have moved by now."""
        if total_bytes > self._total_bytes:
            self._total_bytes = total_bytes
            slowest_s = self._start_s + self._timeout_s + (total_bytes - self._start_bytes) / self._bytes_per_s
            self.deadline_s = min(now_s + self._timeout_s, slowest_s)
