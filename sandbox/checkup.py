"""What the sweep looks at in a living instance: how much memory it has, and whether it has gone idle.

Theory of operation. Everything happens in the ticks of the sweep, so a call pays nothing for it. Memory over `memory`
is the end of the instance at once. Over `retire_memory` it is replaced; if it runs a call, the dispatcher looks again
when that has ended, because the call alone may need so much. An instance that was used and has been idle for a while
tidies up once: between the calls of a burst, a collection of its garbage would be in the way.
"""

from enum import Enum
from typing import Protocol

from sandbox import processes
from sandbox.memory import Use, excess
from sandbox.spec import MIB, Limits
from sandbox.sweep import WATCH_S
from sandbox.usage import Held

WATCH_NS = int(WATCH_S * 1e9)
IDLE_WATCH_NS = 2_000_000_000
"""How often the memory of an idle instance is measured: its threads and child processes may still run."""
FULL_WATCH_NS = 1_000_000_000
"""The shortest time between two full measurements."""
TIDY_NS = 1_000_000_000
"""How long an instance has been idle before it tidies up: not between the calls of a burst."""
TIDY_FROM_KB = 1024
"""Below this growth since the fork, the pages that a collection writes to are more than what it could give back."""


class Found(Enum):
    """What a look has found."""

    WORN = "worn"
    """its memory is over `retire_memory`"""
    IDLE = "idle"
    """it has just been idle for long enough to tidy up, and has grown enough"""


class Process(Protocol):
    """The part of a `Body` that this needs."""

    @property
    def pid(self) -> int:
        """of the instance"""

    @property
    def baseline_kb(self) -> int:
        """resident memory of its template, which is not its own"""

    @property
    def anonymous_kb(self) -> int:
        """that of it which belongs to no file"""


class Checkup:
    """Of one instance. Times are CLOCK_MONOTONIC nanoseconds."""

    def __init__(self, process: Process, held: Held, limits: Limits, now_ns: int) -> None:
        self._process = process
        self._held = held
        self._limits = limits
        self._least_bytes = min(limits.memory_bytes, limits.retire_memory_bytes or limits.memory_bytes)
        self._looked_ns = self._look_fully_ns = now_ns
        self._seen_idle = self._tidied = 0
        """How many calls it had run when it was last seen idle, and when it last tidied up."""
        self._idle_ns = 0
        """When it was first seen idle after these calls."""

    def measure(self, now_ns: int) -> Use:
        """Measure the memory, which counts as held from now on: of processes below it, an upper bound."""
        use = Use(self._process.pid, self._process.baseline_kb)
        self._held.read(use.at_most_kb(), now_ns)
        return use

    def _grown_kb(self) -> int:
        """How much it has allocated since the fork. A fork does not have all the file pages that its template has."""
        return (processes.anonymous_kb(self._process.pid) or 0) - self._process.anonymous_kb

    def next_ns(self, invocations: int, *, is_idle: bool) -> int:
        """When to look next."""
        if not is_idle:
            return self._looked_ns + WATCH_NS
        memory_ns = self._looked_ns + IDLE_WATCH_NS
        if invocations == self._tidied:
            return memory_ns
        return min(memory_ns, self._idle_ns + TIDY_NS)

    def look(self, now_ns: int, invocations: int, *, is_idle: bool) -> "Found | str | None":
        """Look at what is due. A text says why the instance must be killed. `invocations`: how many it has begun."""
        if is_idle and invocations != self._seen_idle:
            self._seen_idle, self._idle_ns = invocations, now_ns
        if now_ns >= self._looked_ns + (IDLE_WATCH_NS if is_idle else WATCH_NS):
            self._looked_ns = now_ns
            found = self._excess(now_ns)
            if found is not None:
                return found
        if is_idle and invocations != self._tidied and now_ns >= self._idle_ns + TIDY_NS:
            self._tidied = invocations
            if self._grown_kb() >= TIDY_FROM_KB:
                return Found.IDLE
        return None

    def _excess(self, now_ns: int) -> "Found | str | None":
        fully = now_ns >= self._look_fully_ns
        if fully:
            self._look_fully_ns = now_ns + FULL_WATCH_NS
        use = self.measure(now_ns)
        found = excess(use, self._least_bytes, fully=fully)
        if found is None or self._limits.retire_memory_bytes is None:
            return found
        return excess(use, self._limits.memory_bytes, fully=fully) or Found.WORN

    def wear(self, now_ns: int, invocations: int) -> str:
        """Why its memory now is a reason to replace it; empty if it is none."""
        used_kb = self.measure(now_ns).close_kb()
        limit_bytes = self._limits.retire_memory_bytes
        if limit_bytes is None or used_kb * 1024 <= limit_bytes:
            return ""
        used_mib, limit_mib = used_kb * 1024 // MIB, limit_bytes // MIB
        calls = "a call" if invocations == 1 else f"{invocations} calls"
        return f"it has {used_mib} MiB of memory after {calls}; retire_memory is {limit_mib} MiB"
