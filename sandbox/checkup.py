"""What the sweep looks at in a living instance: how much memory it has, and whether it has gone idle.

Theory of operation. Everything happens in the ticks of the sweep, so a call pays nothing for it. Memory over `memory`
is the end of the instance at once. Over `retire_memory` it is replaced; if it runs a call, the dispatcher looks again
when that has ended, because the call alone may need so much. An instance that was used and has been idle for a while
tidies up once: between the calls of a burst, a collection of its garbage would be in the way.

An instance that has started processes is measured in a thread. What they share can only be read while nothing changes
their memory maps: the kernel makes a reader wait for a process that forks, and that can be one of a thousand which do
nothing else. The server must not wait for them.
"""

import time
from collections.abc import Callable
from enum import Enum
from typing import NamedTuple, Protocol

from sandbox import processes
from sandbox.memory import Use, excess, has_children, own_kb, too_much
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
    def baseline_kb(self) -> int | None:
        """resident memory of its template, which is not its own"""

    @property
    def anonymous_kb(self) -> int:
        """that of it which belongs to no file"""


class Measured(NamedTuple):
    """The memory of an instance and of all processes below it."""

    at_most_kb: int
    below_kb: int | None
    """that of the processes below it; None: it was not looked at closely"""
    found: "Found | str | None"


Run = Callable[[Callable[[], Measured], Callable[[Measured], None]], None]
"""Calls the first in a thread, and the second with its result in the event loop."""


class Checkup:
    """Of one instance. Times are CLOCK_MONOTONIC nanoseconds."""

    def __init__(
        self,
        process: Process,
        held: Held,
        limits: Limits,
        now_ns: int,
        *,
        run: Run,
        react: "Callable[[Found | str], None]",
    ) -> None:
        """`react` gets what was found in a thread."""
        self._run = run
        self._react = react
        self._is_measuring = False
        self._below_kb = 0
        """What the processes below it were last measured to have."""
        self._process = process
        self._held = held
        self._limits = limits
        self._least_bytes = min(limits.memory_bytes, limits.retire_memory_bytes or limits.memory_bytes)
        self._looked_ns = self._look_fully_ns = now_ns
        self._looked_at = 0
        """How many calls it had run when its memory was last measured; less if one was running."""
        self._seen_idle = self._tidied = 0
        """How many calls it had run when it was last seen idle, and when it last tidied up."""
        self._idle_ns = 0
        """When it was first seen idle after these calls."""

    def used_kb(self) -> int:
        """Its memory now, and that of the processes below it when they were last measured."""
        return own_kb(self._process.pid, self._process.baseline_kb) + self._below_kb

    def peak_kb(self, resident_kb: int) -> int:
        """The most that it had of its own, from its resident memory at that time; of another program, what it has."""
        shared_kb = self._process.baseline_kb
        return self.used_kb() if shared_kb is None else resident_kb - shared_kb

    def _grown_kb(self) -> int:
        """How much it has allocated since the fork. A fork does not have all the file pages that its template has."""
        return (processes.anonymous_kb(self._process.pid) or 0) - self._process.anonymous_kb

    def next_ns(self, invocations: int, *, is_idle: bool) -> int:
        """When to look next."""
        memory_ns = self._looked_ns + self._pause_ns(invocations, is_idle=is_idle)
        if not is_idle or invocations == self._tidied:
            return memory_ns
        return min(memory_ns, self._idle_ns + TIDY_NS)

    def _pause_ns(self, invocations: int, *, is_idle: bool) -> int:
        """How long not to measure. Short calls are seldom seen running: one that has run some since is not idle."""
        return IDLE_WATCH_NS if is_idle and invocations == self._looked_at else WATCH_NS

    def look(self, now_ns: int, invocations: int, *, is_idle: bool) -> "Found | str | None":
        """Look at what is due. A text says why the instance must be killed. `invocations`: how many it has begun."""
        if is_idle and invocations != self._seen_idle:
            self._seen_idle, self._idle_ns = invocations, now_ns
        if now_ns >= self._looked_ns + self._pause_ns(invocations, is_idle=is_idle):
            self._looked_ns = now_ns
            self._looked_at = invocations if is_idle else invocations - 1
            found = self._found(now_ns)
            if found is not None:
                return found
        if is_idle and invocations != self._tidied and now_ns >= self._idle_ns + TIDY_NS:
            self._tidied = invocations
            if self._grown_kb() >= TIDY_FROM_KB:
                return Found.IDLE
        return None

    def _found(self, now_ns: int) -> "Found | str | None":
        fully = now_ns >= self._look_fully_ns
        if fully:
            self._look_fully_ns = now_ns + FULL_WATCH_NS
        if not has_children(self._process.pid):
            return self._take(self._measure(fully=fully), now_ns)
        if not self._is_measuring:
            self._is_measuring = True
            self._run(lambda: self._measure(fully=fully), self._measured)
        alone_kb = own_kb(self._process.pid, self._process.baseline_kb)
        limit_bytes = self._limits.memory_bytes
        return too_much(alone_kb, limit_bytes) if alone_kb * 1024 > limit_bytes else None

    def _measure(self, *, fully: bool) -> Measured:
        use = Use(self._process.pid, self._process.baseline_kb)
        found = self._over(use, fully=fully)
        return Measured(use.at_most_kb(), use.close_kb() - use.own_kb if fully or found else None, found)

    def _measured(self, measured: Measured) -> None:
        self._is_measuring = False
        if (found := self._take(measured, time.monotonic_ns())) is not None:
            self._react(found)

    def _take(self, measured: Measured, now_ns: int) -> "Found | str | None":
        """Note what was measured; it counts as held from now on."""
        self._held.read(measured.at_most_kb, now_ns)
        if measured.below_kb is not None:
            self._below_kb = measured.below_kb
        return measured.found

    def _over(self, use: Use, *, fully: bool) -> "Found | str | None":
        found = excess(use, self._least_bytes, fully=fully)
        if found is None or self._limits.retire_memory_bytes is None:
            return found
        return excess(use, self._limits.memory_bytes, fully=fully) or Found.WORN

    def wear(self, now_ns: int, invocations: int) -> str:
        """Why its memory now is a reason to replace it; empty if it is none."""
        used_kb = self.used_kb()
        self._held.read(used_kb, now_ns)
        limit_bytes = self._limits.retire_memory_bytes
        if limit_bytes is None or used_kb * 1024 <= limit_bytes:
            return ""
        used_mib, limit_mib = used_kb * 1024 // MIB, limit_bytes // MIB
        calls = "a call" if invocations == 1 else f"{invocations} calls"
        return f"it has {used_mib} MiB of memory after {calls}; retire_memory is {limit_mib} MiB"
