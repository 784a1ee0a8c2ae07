"""The ids and times of events and answers, made cheaply for the warm path."""

from collections.abc import Callable
from itertools import count
from secrets import token_hex
from time import gmtime, time_ns

from bus.times import rfc3339_second

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Stamps:
    """Ids are unique across processes and machines: 64 random bits per server, then a counter."""

    def __init__(self, now_ns: Callable[[], int] = time_ns) -> None:
        """`now_ns` is the wall clock, in nanoseconds since the epoch."""
        self._now_ns = now_ns
        self._server = token_hex(8)
        self._count = count(1)
        self._second = -1
        self._date = self._prefix = ""

    def invocation_id(self) -> str:
        return f"{self._server}-{next(self._count):08x}"

    def time(self) -> str:
        """Now as RFC 3339 in UTC with microseconds."""
        second, rest_ns = divmod(self._now_ns(), 1_000_000_000)
        if second != self._second:
            self._turn(second)
        return f"{self._prefix}.{rest_ns // 1000:06}Z"

    def date(self) -> str:
        """Now as in a Date header (RFC 9110 §5.6.7)."""
        second = self._now_ns() // 1_000_000_000
        if second != self._second:
            self._turn(second)
        return self._date

    def _turn(self, second: int) -> None:
        self._second = second
        self._prefix, self._date = rfc3339_second(second), http_date(second)


def http_date(second: int) -> str:
    """`Mon, 23 Nov 2026 19:06:00 GMT`, whatever the locale."""
    at = gmtime(second)
    clock = f"{at.tm_hour:02}:{at.tm_min:02}:{at.tm_sec:02}"
    return f"{_DAYS[at.tm_wday]}, {at.tm_mday:02} {_MONTHS[at.tm_mon - 1]} {at.tm_year:04} {clock} GMT"
