"""The places of a tree's processes, filled or not: a zygote's for each runtime, a template's for each version.

Whoever makes what belongs there holds the lock; what failed is remembered, so that others fail at once meanwhile.
"""

import time

import anyio

from bus.outcome import StartKind
from sandbox.backoff import Backoff
from sandbox.causes import Cause
from sandbox.errors import LoadFailed
from sandbox.spec import FunctionSpec, Limits
from sandbox.template import Template
from sandbox.zygote import Zygote


class Place:
    """The place of a zygote or a template, filled or not: who makes it holds the lock, what failed is remembered."""

    def __init__(self) -> None:
        self.lock = anyio.Lock()
        self.backoff = Backoff()
        self.error = LoadFailed("CrashLoop", "it keeps ending right after it was loaded")
        self.made_ns = 0
        self.cause = Cause("new")
        """Why it had to be made, the last time that it was."""
        self.vacant = anyio.Event()

    def refuse_early(self) -> None:
        """Raise the stored reason while the back-off lasts."""
        if self.backoff.remaining_s(time.monotonic_ns()) > 0:
            error = self.error
            raise LoadFailed(error.code, error.message, error.traceback, self.backoff.retry_at_ns)

    def failed(self, error: LoadFailed) -> None:
        """It could not be made, for the reason given. Several that were tried at once have failed once."""
        now_ns = time.monotonic_ns()
        if self.backoff.remaining_s(now_ns) == 0:
            self.backoff = self.backoff.failed(now_ns)
        error.retry_at_ns = self.backoff.retry_at_ns
        self.error = error

    def ended(self) -> None:
        """It ended by itself after it had been made."""
        now_ns = time.monotonic_ns()
        self.backoff = self.backoff.ended(now_ns, (now_ns - self.made_ns) / 1e9)
        self.error = LoadFailed("CrashLoop", "it keeps ending right after it was loaded")

    def filled(self) -> None:
        """It was made."""
        self.made_ns = time.monotonic_ns()
        self.vacant = anyio.Event()


class Root(Place):
    """One runtime's zygote."""

    zygote: Zygote | None = None


class Branch(Place):
    """One version's template. `keeper` restarts it as soon as it ends, until it is cancelled."""

    template: Template | None = None
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
        self.births = Place()
        """What its instances do before they serve: the `after_fork` hook, which fails and backs off as a load does."""


Key = tuple[str, str, Limits, str, float, float, float]


def template_key(spec: FunctionSpec) -> Key:
    """What two specs have in common that share a template.

    The function, as each has its own log; the version; and the limits and the like, a change of which makes no version.
    """
    return (spec.name, spec.version, spec.limits, spec.log_level, spec.timeout_s, spec.grace_s, spec.init_timeout_s)
