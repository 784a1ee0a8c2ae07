"""Announcing events to pools before they are due, so that an instance is ready."""

import time
from contextlib import suppress
from datetime import datetime, timedelta

from bus.bus import Bus
from triggers.timer.alarms import Alarms

AHEAD = timedelta(seconds=4)
"""An event is announced at most this long before it is due."""
SLACK = timedelta(seconds=1)
"""How much later that may happen, to save wake-ups. What is left is more than a pool needs."""
ONCE = timedelta(milliseconds=250)
"""Events of one function that are due within this time are announced once."""


class Announcements:
    """Call `add` as soon as a time is known, and `announce` when `next` has come."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._alarms: Alarms[tuple[str, datetime]] = Alarms()
        self._announced: dict[str, datetime] = {}

    def add(self, function: str, at: datetime) -> None:
        """Note that an event of the function is due at `at`."""
        self._alarms.set(at - AHEAD, (function, at))

    def announce(self, now: datetime) -> None:
        """Announce the events that are due soon."""
        for _, (function, at) in self._alarms.take(now):
            announced = self._announced.get(function)
            if at > now and (announced is None or not announced <= at < announced + ONCE):
                self._announced[function] = at
                with suppress(LookupError):  # the function may have been removed since
                    self._bus.pool(function).expect(time.monotonic_ns() + int((at - now).total_seconds() * 1e9))

    @property
    def next(self) -> datetime | None:
        """The latest time for the next call of `announce`."""
        at = self._alarms.next
        return None if at is None else at + SLACK
