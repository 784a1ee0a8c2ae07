"""For how long the processes of a function waited for what the machine could not give them, for `forklight why`.

Theory of operation. The kernel counts for each control group how long its processes have waited so far. A call that was
slow is told what was added while it ran: the count at its end, less the latest one that was known when it began. So a
fast call costs nothing. The count before is at most as old as the last look of the sweep at an instance that ran
something: 0.25 s, or what was waited since by calls that were fast.
"""

from collections.abc import Callable

from msgspec import Struct

from bus.outcome import Waits

SLOW_NS = 100_000_000
"""From this duration of a call on, the kernel is asked."""
_AGAIN_NS = 100_000_000
_FRESH_NS = 5_000_000
"""How old a count may be for a look of the sweep, and for the end of a slow call: many may end at once."""


class Strain(Struct, frozen=True):
    """For how long the processes of a group have waited so far, in microseconds; None is unknown.

    `throttled`: for their next share of the processors, because `cpu` was used up. The others are PSI (`some total`):
    at least one process waited for memory, the disk or a processor.
    """

    throttled_us: int | None = None
    memory_us: int | None = None
    io_us: int | None = None
    cpu_us: int | None = None


class Count(Struct, frozen=True):
    """What was known at one time (CLOCK_MONOTONIC nanoseconds)."""

    at_ns: int
    strain: Strain
    of: "Strains"

    def waits(self, begun_ns: int, now_ns: int) -> Waits | None:
        """Return what was waited for since, in a call that began at `begun_ns`; None if nothing is known of that."""
        return waits_between(self.strain, self.of.read(now_ns, _FRESH_NS).strain, (now_ns - begun_ns) / 1e6)


class Strains:
    """The counts of one group."""

    def __init__(self, ask: Callable[[], Strain] | None) -> None:
        """`ask` reads the present count; None: the machine counts nothing."""
        self._ask = ask
        self.latest = None if ask is None else Count(0, Strain(0, 0, 0, 0), self)
        """A group begins with zeros."""

    def note(self, now_ns: int) -> None:
        """Something runs: have a count that is not too old."""
        if self._ask is not None:
            self.read(now_ns, _AGAIN_NS)

    def read(self, now_ns: int, oldest_ns: int) -> Count:
        """Return the latest count, or a new one if it is older than `oldest_ns`."""
        latest = self.latest
        if latest is None or (self._ask is not None and now_ns - latest.at_ns > oldest_ns):
            latest = self.latest = Count(now_ns, self._ask() if self._ask is not None else Strain(), self)
        return latest


def waits_between(before: Strain, after: Strain, most_ms: float) -> Waits | None:
    """Return what was waited for between two counts, in a call that took `most_ms`; None if nothing is known."""

    def passed_ms(one_us: int | None, other_us: int | None) -> float:
        passed_us = 0 if one_us is None or other_us is None else other_us - one_us
        return round(min(max(0.0, passed_us / 1000), most_ms), 3)

    throttled_ms = passed_ms(before.throttled_us, after.throttled_us)
    found = Waits(
        throttled_ms=throttled_ms,
        memory_ms=passed_ms(before.memory_us, after.memory_us),
        disk_ms=passed_ms(before.io_us, after.io_us),
        # Whoever is throttled waits for a processor, too.
        processor_ms=round(max(0.0, passed_ms(before.cpu_us, after.cpu_us) - throttled_ms), 3),
    )
    return None if found == Waits() else found
