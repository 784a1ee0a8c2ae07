"""Pools are told of events in time, in their own time, once, and again when that has become wrong."""

import time
from datetime import UTC, datetime, timedelta

from bus.bus import Bus, Pool
from tests.kit.pools import Roomy
from tests.kit.targets import Awaiting
from triggers.timer.announcements import AHEAD, Announcements

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


class Told(Awaiting, Roomy):
    """The target and its only pool, which remembers in how many seconds it was told to expect events."""

    def __init__(self) -> None:
        super().__init__()
        self.in_s: list[int] = []

    def version(self, function: str, wanted: str) -> str:
        return ""

    def pool(self, function: str) -> Pool:
        return self

    def expect(self, at_ns: int) -> None:
        self.in_s.append(round((at_ns - time.monotonic_ns()) / 1e9))


def announcements() -> tuple[Told, Announcements]:
    bus, told = Bus(), Told()
    bus.attach(told)
    return told, Announcements(bus)


def test_an_event_is_announced_once_as_long_before_as_any_pool_may_need() -> None:
    told, ahead = announcements()
    ahead.add("f", NOW + AHEAD)
    ahead.add("f", NOW + AHEAD)
    ahead.add("f", NOW + AHEAD + SECOND)
    for _ in range(2):
        ahead.announce(NOW)

    assert told.in_s == [AHEAD.total_seconds()]


def test_it_is_announced_again_when_the_clock_was_set() -> None:
    told, ahead = announcements()
    ahead.add("f", NOW + 60 * SECOND)
    ahead.announce(NOW)
    ahead.announce(NOW + 20 * SECOND)  # in no time
    ahead.announce(NOW + 20 * SECOND)
    ahead.announce(NOW + 60 * SECOND)

    assert told.in_s == [60, 40]


def test_nor_does_a_pool_that_is_new_miss_it() -> None:
    told, ahead = announcements()
    for _ in range(2):
        ahead.clear()
        ahead.add("f", NOW + 60 * SECOND)
        ahead.announce(NOW)

    assert told.in_s == [60, 60]
