"""What the processes of each function hold and use, summed up while they live. Pure; times are CLOCK_MONOTONIC ns.

Theory of operation. A `Level` is a number that stays the same until it is changed, with its integral over time: a
function's instances now, the memory that they hold. Each change adds up the stretch that has ended, so a sum over
thousands of processes needs no list of them, and nothing happens per call. A process enters the levels at its start,
changes them at each reading of its memory (the sweep takes one four times a second while it is busy, every 2 s while
it is idle), and leaves them at its end. A reading counts until the next one, the first one also back to the start.
"""

LEAST_KB = 1024
"""Charged for any process: page tables and the like, which its resident memory does not show."""


class Level:
    """A number that stays the same until it is changed, and its integral over time."""

    __slots__ = ("_at_ns", "_sum", "now")

    def __init__(self) -> None:
        self.now = 0
        self._sum = 0
        self._at_ns = 0

    def change(self, by: int, now_ns: int) -> None:
        """Add `by` from `now_ns` on. Changes come in the order of time."""
        self._sum = self.integral(now_ns)
        self._at_ns = now_ns
        self.now += by

    def add(self, amount: int) -> None:
        """Add to the integral alone, for a stretch of which more is known now."""
        self._sum += amount

    def integral(self, now_ns: int) -> int:
        """Return the number times nanoseconds, added up to `now_ns`, which is no earlier than the last change."""
        return self._sum + self.now * (now_ns - self._at_ns)


class Crowd:
    """Processes of one sort: how many live, and the memory in KiB charged for them."""

    __slots__ = ("count", "held_kb")

    def __init__(self) -> None:
        self.count = Level()
        self.held_kb = Level()


class Meter:
    """What one function has used since the server started, also before a reload that removed or renewed it."""

    def __init__(self) -> None:
        self.templates = Crowd()
        self.instances = Crowd()
        self.served = Level()
        """1 while the configuration has the function, else 0"""
        self.most_used = 0
        """the most instances at one time that had run an event"""
        self.becomes = False
        """Whether its templates turn into instances, because they must not fork."""
        self.ended_cpu_ns = 0
        """of processes that have ended"""
        self._cpu_ns = 0

    def note_used(self, instances: int) -> None:
        """So many instances have run an event and live."""
        self.most_used = max(self.most_used, instances)

    def cpu_ns(self, living_cpu_ns: int) -> int:
        """Return the CPU time of all processes so far, given that of the living ones.

        It never falls: between the readings of two processes, one may have ended and have been counted in neither.
        """
        self._cpu_ns = max(self._cpu_ns, self.ended_cpu_ns + living_cpu_ns)
        return self._cpu_ns


class Meters:
    """The meters of all functions by name, and the zygotes of all runtimes."""

    def __init__(self) -> None:
        self.functions: dict[str, Meter] = {}
        self.zygotes = Crowd()
        self.ended_zygotes_cpu_ns = 0

    def of(self, function: str) -> Meter:
        """Return the meter of a function, made when it is first asked for and kept from then on."""
        meter = self.functions.get(function)
        if meter is None:
            meter = self.functions[function] = Meter()
        return meter


class Held:
    """The memory charged for one process: never less than `LEAST_KB`, plus `beside_kb`."""

    __slots__ = ("_begun_ns", "_crowd", "_kb", "beside_kb", "is_unread", "own_kb")

    def __init__(self, crowd: Crowd, beside_kb: int = 0) -> None:
        self._crowd = crowd
        self.beside_kb = beside_kb
        self._kb = 0
        self._begun_ns = 0
        self.is_unread = True
        self.own_kb = 0
        """What it had when last read."""

    def begin(self, now_ns: int) -> None:
        """The process has started."""
        self._begun_ns = now_ns
        self._kb = LEAST_KB + self.beside_kb
        self._crowd.count.change(1, now_ns)
        self._crowd.held_kb.change(self._kb, now_ns)

    def read(self, own_kb: int, now_ns: int) -> None:
        """The process has `own_kb` of its own: charge that until the next reading, the first since its start too."""
        self.own_kb = own_kb
        kb = max(LEAST_KB, own_kb) + self.beside_kb
        if kb != self._kb:
            if self.is_unread:
                self._crowd.held_kb.add((kb - self._kb) * (now_ns - self._begun_ns))
            self._crowd.held_kb.change(kb - self._kb, now_ns)
            self._kb = kb
        self.is_unread = False

    def end(self, now_ns: int) -> None:
        """The process has ended. Idempotent."""
        if self._kb:
            self._crowd.count.change(-1, now_ns)
            self._crowd.held_kb.change(-self._kb, now_ns)
            self._kb = 0
