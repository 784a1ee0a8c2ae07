"""Announcing events to pools before they are due, so that an instance is ready.

A pool decides by itself when to start an instance for an announced event, because it knows how long its starts take. It
is told long enough before, in its own time, that of CLOCK_MONOTONIC. So it is told again if the wall clock is set.
"""

import time
from contextlib import suppress
from datetime import datetime, timedelta

from bus.bus import Bus
from triggers.timer.alarms import Alarms

AHEAD = timedelta(seconds=125)
"""An event is announced at most this long before it is due: longer than any pool makes use of."""
SLACK = timedelta(seconds=1)
"""How much later that may happen, to save wake-ups. What is left is more than a pool needs."""
ONCE_S = 0.25
"""Events of one function that are due within this time are announced once."""
MOVED_S = 0.5
"""The wall clock was set if it differs by more from the time that has passed."""

_Told = tuple[str, int]
"""A function, and the span of `ONCE_S` in which its event is due."""


class Announcements:
    """Call `add` as soon as a time is known, and `announce` when `next` has come."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._set_at_s = 0.0
        """The wall clock less the monotonic one, when it was last looked at."""
        self.clear()

    def clear(self) -> None:
        """Forget all events: functions or timers were replaced. What pools were told, they still know."""
        self._alarms: Alarms[tuple[str, datetime]] = Alarms()
        self._told: dict[_Told, datetime] = {}
        self._past: Alarms[_Told] = Alarms()

    def add(self, function: str, at: datetime) -> None:
        """Note that an event of the function is due at `at`."""
        self._alarms.set(at - AHEAD, (function, at))

    def announce(self, now: datetime) -> None:
        """Announce the events that are due soon; again, if the clock was set."""
        for _, told in self._past.take(now):
            self._told.pop(told, None)
        set_at_s = now.timestamp() - time.monotonic()
        if abs(set_at_s - self._set_at_s) > MOVED_S:
            for (function, _), at in self._told.items():
                self._tell(function, at, now)
        self._set_at_s = set_at_s
        for _, (function, at) in self._alarms.take(now):
            told = (function, int(at.timestamp() / ONCE_S))
            if at > now and told not in self._told:
                self._told[told] = at
                self._past.set(at, told)
                self._tell(function, at, now)

    def _tell(self, function: str, at: datetime, now: datetime) -> None:
        with suppress(LookupError):  # the function may have been removed since
            self._bus.pool(function).expect(time.monotonic_ns() + int((at - now).total_seconds() * 1e9))

    @property
    def next(self) -> datetime | None:
        """The latest time for the next call of `announce`."""
        at = self._alarms.next
        return None if at is None else at + SLACK
