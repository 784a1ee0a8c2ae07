"""The places of a tree's processes, filled or not: a zygote's for each runtime, a template's for each version.

Whoever makes what belongs there holds the lock; what failed is remembered, so that others fail at once meanwhile.
"""

import time
from typing import Generic, TypeVar

import anyio

from bus.outcome import StartKind
from sandbox.backoff import Backoff
from sandbox.causes import Cause
from sandbox.errors import LoadFailed
from sandbox.spec import FunctionSpec, Limits
from sandbox.template import Template
from sandbox.zygote import Zygote

T = TypeVar("T")
_CRASH_LOOP = LoadFailed("CrashLoop", "it keeps ending right after it was loaded")


class Failures:
    """The latest in a row, and until when nobody tries again."""

    def __init__(self) -> None:
        self._backoff = Backoff()
        self._error = _CRASH_LOOP

    @property
    def current(self) -> LoadFailed | None:
        """The latest, while the back-off lasts."""
        return self._error if self._backoff.remaining_s(time.monotonic_ns()) > 0 else None

    def refuse_early(self) -> None:
        """Raise the stored reason while the back-off lasts."""
        if (error := self.current) is not None:
            raise LoadFailed(error.code, error.message, error.traceback, self._backoff.retry_at_ns)

    def failed(self, error: LoadFailed) -> None:
        """It could not be made, for the reason given. Several that were tried at once have failed once."""
        now_ns = time.monotonic_ns()
        if self._backoff.remaining_s(now_ns) == 0:
            self._backoff = self._backoff.failed(now_ns)
        error.retry_at_ns = self._backoff.retry_at_ns
        self._error = error

    def ended(self, lived_s: float) -> None:
        """It ended by itself after it had been made."""
        self._backoff = self._backoff.ended(time.monotonic_ns(), lived_s)
        self._error = _CRASH_LOOP

    def succeeded(self) -> None:
        """What comes next is a first failure again."""
        self._backoff = Backoff()


class Place(Failures, Generic[T]):
    """The place of one zygote or template."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = anyio.Lock()
        self.vacant = anyio.Event()
        self.made: T | None = None
        """What stands here and can be used."""
        self._made_ns = 0
        self.cause = Cause("new")
        """Why it had to be made, the last time that it was."""

    def fill(self, made: T) -> None:
        """It was made."""
        self.made = made
        self._made_ns = time.monotonic_ns()
        self.vacant = anyio.Event()

    def vacate(self, made: T, cause: Cause | None = None) -> bool:
        """It can be used no more; whether it stood here until now. `cause`: why the next has to be made."""
        if self.made is not made:
            return False
        self.made = None
        self.vacant.set()
        self.cause = cause or self.cause
        return True

    def note_end(self) -> None:
        """What stood here has ended by itself, and by its own fault."""
        self.ended((time.monotonic_ns() - self._made_ns) / 1e9)


Root = Place[Zygote]
"""One runtime's zygote."""


class Branch(Place[Template]):
    """One version's template. `keeper` restarts it as soon as it ends, until it is cancelled."""

    made_by: StartKind = "load"
    why_become = ""
    """What the import left behind, so that the template becomes its one instance."""
    shared: tuple[str, ...] = ()
    """What it left behind that all instances share, as they may."""
    is_told = False
    """Whether the log says what the import left behind."""
    keeper: anyio.CancelScope | None = None
    dropped = False
    problem = ""
    """Why the latest start failed; empty once one has gone well."""

    def __init__(self, spec: FunctionSpec) -> None:
        super().__init__()
        self.spec = spec
        self.births = Failures()
        """Of what its instances do before they serve: the `after_fork` hook, which backs off as a load does."""


Key = tuple[str, str, Limits, str, float, float, float]


def template_key(spec: FunctionSpec) -> Key:
    """What two specs have in common that share a template.

    The function, as each has its own log; the version; and the limits and the like, a change of which makes no version.
    """
    return (spec.name, spec.version, spec.limits, spec.log_level, spec.timeout_s, spec.grace_s, spec.init_timeout_s)
