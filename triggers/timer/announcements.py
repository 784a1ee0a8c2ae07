"""Telling pools ahead of time that an event is due, so that an instance is ready when it comes."""

import time
from contextlib import suppress
from datetime import datetime, timedelta

from bus.bus import Bus
from triggers.timer.alarms import Alarms

AHEAD = timedelta(seconds=4)
"""How long before its time an event may be announced."""
SLACK = timedelta(seconds=1)
"""How much later it may be, so that nobody need wake up for each: still more than a pool needs to be ready."""
ONCE = timedelta(milliseconds=250)
"""Events of one function that are due so close together are announced once."""


class Announcements:
    """`add` as soon as a time is known, and `tell` when `next` has come."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._alarms: Alarms[tuple[str, datetime]] = Alarms()
        self._told: dict[str, datetime] = {}

    def add(self, function: str, at: datetime) -> None:
        """An event of the function will be due at `at`."""
        self._alarms.set(at - AHEAD, (function, at))

    def tell(self, now: datetime) -> None:
        """Announce what is due soon."""
        for _, (function, at) in self._alarms.take(now):
            told = self._told.get(function)
            if at > now and (told is None or not told <= at < told + ONCE):
                self._told[function] = at
                with suppress(LookupError):  # the function may have been removed since
                    self._bus.pool(function).expect(time.monotonic_ns() + int((at - now).total_seconds() * 1e9))

    @property
    def next(self) -> datetime | None:
        """When there is something to tell, at the latest."""
        at = self._alarms.next
        return None if at is None else at + SLACK
