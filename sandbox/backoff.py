"""Back-off of a start that keeps failing: 1 s, doubling to 1 min, reset after a period of health. Pure."""

from msgspec import Struct

FIRST_S = 1.0
LONGEST_S = 60.0
HEALTHY_S = 10.0
"""A process that lived this long was healthy: its next failure counts as the first."""


class Backoff(Struct, frozen=True):
    """The number of failures in a row, and when to try again (CLOCK_MONOTONIC ns)."""

    failures: int = 0
    retry_at_ns: int = 0

    def failed(self, now_ns: int, lived_s: float = 0.0) -> "Backoff":
        """The back-off after a failed start. After `lived_s` of health, the next try may come at once."""
        if lived_s >= HEALTHY_S:
            return Backoff(0, now_ns)
        delay_s = min(LONGEST_S, FIRST_S * 2.0 ** min(self.failures, 10))
        return Backoff(self.failures + 1, now_ns + int(delay_s * 1e9))

    def ended(self, now_ns: int, lived_s: float) -> "Backoff":
        """The back-off after a process that worked for `lived_s` has ended. The first end in a row costs no wait."""
        if lived_s >= HEALTHY_S or self.failures == 0:
            return Backoff(1, now_ns)
        return self.failed(now_ns)

    def remaining_s(self, now_ns: int) -> float:
        """How much longer to wait; 0 if the start may be tried now."""
        return max(0.0, (self.retry_at_ns - now_ns) / 1e9)
