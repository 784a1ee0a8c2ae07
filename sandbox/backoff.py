"""When to try again what keeps failing: 1 s, doubling to 1 min, forgotten after a while of health. Pure."""

from msgspec import Struct

FIRST_S = 1.0
LONGEST_S = 60.0
HEALTHY_S = 10.0
"""Something that lived this long was healthy: its next failure is a first one again."""


class Backoff(Struct, frozen=True):
    """How often it failed in a row, and when it may be tried again (CLOCK_MONOTONIC ns)."""

    failures: int = 0
    retry_at_ns: int = 0

    def failed(self, now_ns: int, lived_s: float = 0.0) -> "Backoff":
        """It failed now, after `lived_s` of health. The first failure after health may be tried again at once."""
        if lived_s >= HEALTHY_S:
            return Backoff(0, now_ns)
        delay_s = min(LONGEST_S, FIRST_S * 2.0 ** min(self.failures, 10))
        return Backoff(self.failures + 1, now_ns + int(delay_s * 1e9))

    def ended(self, now_ns: int, lived_s: float) -> "Backoff":
        """It had been made, worked for `lived_s` and ended now. Once in a row that is no reason to wait at all."""
        if lived_s >= HEALTHY_S or self.failures == 0:
            return Backoff(1, now_ns)
        return self.failed(now_ns)

    def remaining_s(self, now_ns: int) -> float:
        """How long to wait yet; 0 if it may be tried now."""
        return max(0.0, (self.retry_at_ns - now_ns) / 1e9)
