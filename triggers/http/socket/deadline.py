"""When a connection is overdue in its phase. One sweep checks all connections, so none has a timer of its own."""

from collections.abc import Callable
from math import inf

from triggers.http.settings import HttpSettings
from triggers.http.socket.life import Phase
from triggers.http.socket.outgoing import Outgoing

IDLE, HEAD, BUSY, BODY, WRITE, ENDING, GONE = Phase

QUIET_S = 5.0
"""How long a client may stay silent after its last answer before the connection is closed."""
LINGER_S = 30.0
"""How long a client may go on sending after its last answer."""


class Pace:
    """A transfer must move within every `timeout_s`, and average `bytes_per_s` with `timeout_s` of credit.

    So a transfer may last as long as it makes progress, and a byte now and then does not count as progress. This is the
    rule of Apache's `RequestReadTimeout` with `MinRate`.
    """

    __slots__ = ("_bytes_per_s", "_start_bytes", "_start_s", "_timeout_s", "_total_bytes", "deadline_s")

    def __init__(self, now_s: float, timeout_s: float, bytes_per_s: float, total_bytes: int = 0) -> None:
        """`total_bytes` is the reading at the start of what `moved` is given."""
        self._start_s = now_s
        self._timeout_s = timeout_s
        self._bytes_per_s = bytes_per_s
        self._start_bytes = self._total_bytes = total_bytes
        self.deadline_s = now_s + timeout_s

    def moved(self, total_bytes: int, now_s: float) -> None:
        """Note that `total_bytes` have moved by `now_s`."""
        if total_bytes > self._total_bytes:
            self._total_bytes = total_bytes
            slowest_s = self._start_s + self._timeout_s + (total_bytes - self._start_bytes) / self._bytes_per_s
            self.deadline_s = min(now_s + self._timeout_s, slowest_s)


class Deadline:
    """`at_s` is when the phase is overdue, on the event loop's clock; infinity means never."""

    __slots__ = ("_linger_until_s", "_now_s", "_out", "_pace", "_settings", "at_s")

    def __init__(self, settings: HttpSettings, now_s: Callable[[], float], out: Outgoing) -> None:
        self._settings = settings
        self._now_s = now_s
        self._out = out
        self._pace: Pace | None = None
        self._linger_until_s = inf
        self.at_s = inf

    def __repr__(self) -> str:
        return "no deadline" if self.at_s == inf else f"overdue in {self.at_s - self._now_s():.1f} s"

    def begin(self, phase: Phase) -> None:
        """Set the deadline of a phase that begins now."""
        settings = self._settings
        if phase is IDLE:
            self.at_s = self._now_s() + settings.idle_timeout_s
        elif phase is BUSY or phase is GONE:
            self.at_s = inf
        elif phase is HEAD:
            self.at_s = self._now_s() + settings.header_timeout_s
        else:
            timeout_s, moved = settings.body_timeout_s, 0
            if phase is not BODY:
                timeout_s, moved = settings.write_timeout_s, self._out.read_bytes
            self._pace = pace = Pace(self._now_s(), timeout_s, settings.min_rate_bytes, moved)
            self.at_s = pace.deadline_s

    def half_closed(self) -> None:
        """Give BUSY a deadline: the client sends nothing more and may have left."""
        self.at_s = self._now_s() + self._settings.half_closed_timeout_s

    def received(self, body_bytes: int) -> None:
        """Extend BODY: `body_bytes` have arrived so far."""
        assert self._pace is not None
        self._pace.moved(body_bytes, self._now_s())
        self.at_s = self._pace.deadline_s

    def look_at_reader(self, now_s: float, *, is_last: bool, draining: bool) -> None:
        """Extend WRITE or ENDING by what the client has read. Once it has read its last answer, it may linger."""
        if self._pace is None:
            return
        self._pace.moved(self._out.read_bytes, now_s)
        self.at_s = self._pace.deadline_s
        if is_last and not self._out.unread_bytes:
            self._pace = None
            self._linger_until_s = now_s + (QUIET_S if draining else LINGER_S)
            self.at_s = now_s + QUIET_S

    def linger(self) -> None:
        """Extend ENDING: the client is still sending."""
        if self._pace is None:
            self.at_s = min(self._now_s() + QUIET_S, self._linger_until_s)

    def hurry(self) -> None:
        """Shorten ENDING: the server is stopping."""
        self._linger_until_s = min(self._linger_until_s, self._now_s() + QUIET_S)
