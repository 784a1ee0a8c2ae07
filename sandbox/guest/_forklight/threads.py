"""Finds the modules whose import started threads: a process with more than one thread must not be forked."""

import sys
import threading
import time
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType, TracebackType

from .origins import short_path
from .posix import thread_count

_SETTLE_TRIES = 50
_SETTLE_STEP_S = 0.001


class ThreadWatch:
    """`with watch_threads() as seen:` around an import; afterwards `seen` describes the threads that are left.

    `count` is the number of threads in the process. `modules` are those that most likely started them: for a Python
    thread the module of its target, else the last import to begin before the number rose. `names` are the names of the
    Python threads except the main one, each with the line that started it. Threads that have ended do not count.
    """

    def __init__(self) -> None:
        self.count = 1
        self.modules: list[str] = []
        self.names: list[str] = []
        self._before = 1
        self._importing = ""
        self._places: dict[threading.Thread, str] = {}
        self._start = threading.Thread.start

    def __enter__(self) -> "ThreadWatch":
        self._before = self.count = thread_count()
        sys.meta_path.insert(0, self)
        start, places = self._start, self._places

        def noting(thread: threading.Thread) -> None:
            places[thread] = _place()
            start(thread)

        self._noting = noting
        setattr(threading.Thread, "start", noting)  # noqa: B010 - mypy forbids the assignment
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self in sys.meta_path:  # the code may have replaced the list of finders
            sys.meta_path.remove(self)
        if threading.Thread.start is self._noting:  # likewise
            setattr(threading.Thread, "start", self._start)  # noqa: B010
        self._note_rise()
        started = [thread for thread in threading.enumerate() if thread is not threading.main_thread()]
        self.count = count_when_settled(self._before + len(started))
        self.names = [thread.name + self._places.get(thread, "") for thread in started]
        targets = {module for module in map(_module_of, started) if not _is_standard(module)}
        if self.count <= self._before:
            self.modules = []
        elif targets:
            self.modules = sorted(targets)

    @property
    def owner(self) -> str:
        """One line for a log: the modules and the names of the threads; empty if no thread is left."""
        if self.count <= self._before:
            return ""
        modules = ", ".join(self.modules) or "an unknown module"
        return f"{modules} ({', '.join(self.names)})" if self.names else modules

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Called by Python before each import. Finds nothing; checks whether the previous import started a thread."""
        self._note_rise()
        if not _is_standard(name):
            self._importing = name
        return None

    def _note_rise(self) -> None:
        count = thread_count()
        if count > self.count and self._importing and self._importing not in self.modules:
            self.modules.append(self._importing)
        self.count = count


def watch_threads() -> ThreadWatch:
    """A new watch, for one import."""
    return ThreadWatch()


def _is_standard(module: str) -> bool:
    return module.partition(".")[0] in sys.stdlib_module_names


def _place() -> str:
    """`, started at file:line` of the code that starts a thread, which is the caller's caller or further out."""
    frame = sys._getframe(2)
    while _is_standard(frame.f_globals.get("__name__", "")) and frame.f_back is not None:
        frame = frame.f_back
    return f", started at {short_path(frame.f_code.co_filename)}:{frame.f_lineno}"


def _module_of(thread: threading.Thread) -> str:
    runs = getattr(thread, "_target", None) or type(thread)
    return getattr(runs, "__module__", None) or "threading"


def count_when_settled(expected: int) -> int:
    """The number of threads, after a short wait if it is over `expected`: `join` returns before the kernel is done."""
    for _ in range(_SETTLE_TRIES):
        if thread_count() <= expected:
            break
        time.sleep(_SETTLE_STEP_S)
    return thread_count()
