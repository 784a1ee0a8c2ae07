"""Reaps orphans left by a handler's children: the instance adopts them as a subreaper, and only it can reap them.

Theory of operation. The status of a child belongs to the code that started it (`subprocess`, `multiprocessing`, a child
watcher of asyncio, `os.waitpid` in the handler), perhaps long after the child has ended. The kernel does not
distinguish an orphan from a child, so each of Python's functions that start a child also notes its pid; a child that
was not noted is an orphan. Orphans are looked for only after the first child was started, and only between calls.
"""

import _posixsubprocess
import contextlib
import functools
import os
import sys
import time
from collections.abc import Callable
from typing import Any, Literal

from . import posix

REAP_EVERY_S = 1.0
"""How long an orphan that ends between two calls may stay a zombie."""
_SETTLE_S = 0.001


class Orphans:
    """Notes the children that this process starts itself; finds and reaps the others."""

    def __init__(self) -> None:
        self._own: set[int] = set()
        self.may_exist = False
        """Whether this process has started a child so far."""

    def watch(self) -> None:
        """Note every child that is started from here on."""
        for name in ("fork", "forkpty", "posix_spawn", "posix_spawnp", "system"):
            setattr(os, name, self._noting(getattr(os, name)))
        _posixsubprocess.fork_exec = self._noting(_posixsubprocess.fork_exec)
        subprocess = sys.modules.get("subprocess")
        if hasattr(subprocess, "_fork_exec"):  # subprocess keeps a reference since Python 3.11
            subprocess._fork_exec = _posixsubprocess.fork_exec  # type: ignore[union-attr]

    def forget(self) -> None:
        """In a fork: drop the notes, which are about its parent's children."""
        self._own.clear()
        self.may_exist = False

    def own(self) -> set[int]:
        """The children that this process started itself, including dead ones that nobody has waited for."""
        self._own = {pid for pid in self._own if _state(pid) != "none"}
        return set(self._own)

    def living(self) -> set[int]:
        """The children that this process started itself and that are alive."""
        return {pid for pid in self._own if _state(pid) == "lives"}

    def reap(self) -> bool:
        """Reap the orphans that have ended. Returns whether others are alive."""
        orphans = posix.children() - self.own()
        ended = {pid for pid in orphans if _state(pid) == "ended"}
        if ended and posix.thread_count() > 1:  # C code in a thread, such as `system`, may be about to reap its child
            time.sleep(_SETTLE_S)
            ended = {pid for pid in ended if _state(pid) == "ended"}
        for pid in ended:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        return bool(orphans - ended)

    def reap_until_readable(self, fd: int) -> None:
        """Reap orphans as they end, until `fd` is readable or no orphan is alive."""
        while self.reap():
            if posix.is_readable(fd, REAP_EVERY_S):
                self.reap()
                return

    def _noting(self, make: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(make)
        def noting(*args: Any, **options: Any) -> Any:
            self.may_exist = True
            made = make(*args, **options)
            self._own.add(made[0] if isinstance(made, tuple) else made)  # `own` drops numbers that are not children
            return made

        return noting


def _state(pid: int) -> Literal["none", "lives", "ended"]:
    """The state of a child, whichever thread started it; `none` if it is not a child or was already waited for."""
    try:  # WNOWAIT leaves the status for the code that started the child
        return "ended" if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) else "lives"
    except OSError:
        return "none"
