"""The places of a tree, filled or empty: one for the zygote of each runtime, one for the template of each version.

The task that fills a place holds its lock. A failure is stored, so that other starts fail at once during the back-off.
"""

import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Generic, TypeVar

import anyio
import anyio.to_thread

from bus.outcome import StartKind
from sandbox.backoff import Backoff
from sandbox.causes import Cause
from sandbox.containment import Containment
from sandbox.errors import Ended, LoadFailed, StartFailed
from sandbox.rehearsal import NOTHING_KNOWN
from sandbox.spec import FunctionSpec, Limits
from sandbox.template import Template
from sandbox.zygote import Zygote

T = TypeVar("T")
_CRASH_LOOP = LoadFailed("CrashLoop", "it keeps ending right after it was loaded")


class Gate:
    """Open at first; while it is shut, whoever comes waits."""

    def __init__(self) -> None:
        self._opened = anyio.Event()
        self._opened.set()

    async def wait(self) -> None:
        await self._opened.wait()

    def shut(self) -> None:
        self._opened = anyio.Event()

    def open(self) -> None:
        self._opened.set()


class Failures:
    """The latest of several failures in a row, and its back-off."""

    def __init__(self) -> None:
        self._backoff = Backoff()
        self._error = _CRASH_LOOP

    @property
    def current(self) -> LoadFailed | None:
        """The latest failure while the back-off lasts, else None."""
        return self._error if self._backoff.remaining_s(time.monotonic_ns()) > 0 else None

    def refuse_early(self) -> None:
        """Raise the stored failure while the back-off lasts."""
        if (error := self.current) is not None:
            raise LoadFailed(error.code, error.message, error.traceback, self._backoff.retry_at_ns)

    def failed(self, error: LoadFailed) -> None:
        """A start failed with `error`. Concurrent starts that fail together count as one failure."""
        now_ns = time.monotonic_ns()
        if self._backoff.remaining_s(now_ns) == 0:
            self._backoff = self._backoff.failed(now_ns)
        error.retry_at_ns = self._backoff.retry_at_ns
        self._error = error

    def ended(self, lived_s: float) -> None:
        """The process ended by itself, after a start that succeeded."""
        self._backoff = self._backoff.ended(time.monotonic_ns(), lived_s)
        self._error = _CRASH_LOOP

    def succeeded(self) -> None:
        """Reset: the next failure counts as the first."""
        self._backoff = Backoff()


class Place(Failures, Generic[T]):
    """The place of one zygote or template."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = anyio.Lock()
        self.vacant = anyio.Event()
        self.made: T | None = None
        """The process that can be used now."""
        self._made_ns = 0
        self.cause = Cause("new")
        """Why the place was last empty."""

    def fill(self, made: T) -> None:
        """`made` has been started and can be used."""
        self.made = made
        self._made_ns = time.monotonic_ns()
        self.vacant = anyio.Event()

    def replace(self, made: T) -> None:
        """`made` can be used instead of what fills the place. Whoever waits for a vacancy waits on."""
        self.made = made
        self._made_ns = time.monotonic_ns()

    def vacate(self, made: T, cause: Cause | None = None) -> bool:
        """`made` cannot be used any more. Returns whether it filled the place. `cause`: why the next must start."""
        if self.made is not made:
            return False
        self.made = None
        self.vacant.set()
        self.cause = cause or self.cause
        return True

    def note_end(self) -> None:
        """The process that filled the place has ended by its own fault."""
        self.ended((time.monotonic_ns() - self._made_ns) / 1e9)


Root = Place[Zygote]
"""One runtime's zygote."""


class Branch(Place[Template]):
    """One version's template. `keeper` restarts it whenever it ends, until cancelled."""

    made_by: StartKind = "load"
    why_become = ""
    """What the import left behind that forbids forking: the template becomes its one instance."""
    plan = NOTHING_KNOWN
    """What its templates import ahead."""
    is_improving = False
    candidate: Template | None = None
    """A template that is loaded to replace the one that forks."""
    older: tuple[Template, ...] = ()
    """Templates that were replaced, whose instances serve on."""
    shared: tuple[str, ...] = ()
    """What the import left behind that all instances share."""
    files: frozenset[str] | None = None
    """The files of the code that its templates have loaded so far; None if one could not say, or none has loaded."""
    _has_loaded = False
    has_logged_leftovers = False
    """Whether both were logged."""
    keeper: anyio.CancelScope | None = None
    dropped = False
    problem = ""
    """Why the latest start failed; empty once one has succeeded."""

    def __init__(self, spec: FunctionSpec) -> None:
        super().__init__()
        self.spec = spec
        self.births = Failures()
        """The failures of the `after_fork` hook, which backs off as a load does."""

    async def fetch(self) -> None:
        """Have the code be there, which may have to be brought from elsewhere. Raises LoadFailed."""
        fetch = self.spec.fetch
        if fetch is not None and not self.spec.code.exists():
            try:
                await anyio.to_thread.run_sync(fetch)
            except LoadFailed as error:
                self.failed(error)
                raise

    def describe(self, template: Template) -> None:
        """Note what the import of a new template has loaded and left behind."""
        self.why_become = template.why_become
        self.shared = template.shared
        self.note_files(template.loaded.files)

    def note_files(self, files: Iterable[str] | None) -> None:
        """A template has loaded these files of the code, None if it cannot say which."""
        so_far = self.files if self._has_loaded else frozenset()
        self._has_loaded = True
        self.files = None if files is None or so_far is None else so_far | frozenset(files)


async def again(branch: Branch, make: Callable[[Branch], Awaitable[T]]) -> T:
    """The result of `make`, tried again once if a process ended during it. Raises LoadFailed and StartFailed."""
    name = branch.spec.name
    try:
        try:
            return await make(branch)
        except Ended:
            return await make(branch)
    except Ended as error:
        raise LoadFailed("CrashLoop", f"the template of {name!r} keeps ending: {error}") from None
    except OSError as error:  # any system call on the way: the machine has run out of descriptors or memory
        raise StartFailed(f"no process of {name!r} could be started: {error.strerror}") from error


Key = tuple[str, str, Limits, Containment, str, int, str, float, float, float]


class Holds(dict[str, frozenset[Key]]):
    """By who holds them: the versions whose templates must not end now, though they may not be current."""

    def has(self, key: Key) -> bool:
        """Whether anybody holds this version."""
        return any(key in held for held in self.values())


def template_key(spec: FunctionSpec) -> Key:
    """The key by which specs share a template.

    It has the function (each has its own log), the version, and the settings that are not part of the version.
    """
    times_s = (spec.timeout_s, spec.grace_s, spec.init_timeout_s)
    settings = (spec.log_level, spec.concurrency, spec.rehearsal)
    return (spec.name, spec.version, spec.limits, spec.containment, *settings, *times_s)
