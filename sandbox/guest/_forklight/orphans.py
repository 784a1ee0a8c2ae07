"""Orphans of a handler's children: an instance adopts them, as a subreaper, and nobody else can reap them.

Theory of operation. The status of a child belongs to whoever started it (`subprocess`, `multiprocessing`, a watcher of
asyncio, `os.waitpid` in the handler), perhaps long after its end. The kernel does not tell an orphan from a child, so
each way of Python's to make a child notes its pid; what is among the children and was not noted is an orphan. Nothing
is looked at before the first child was made, and then only between calls.
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
    """What this process has noted of its own children, and how it finds and reaps the others."""

    def __init__(self) -> None:
        self._own: set[int] = set()
        self.may_exist = False
        """Whether anything was started here so far."""

    def watch(self) -> None:
        """Note the children that are made from here on."""
        for name in ("fork", "forkpty", "posix_spawn", "posix_spawnp", "system"):
            setattr(os, name, self._noting(getattr(os, name)))
        _posixsubprocess.fork_exec = self._noting(_posixsubprocess.fork_exec)
        subprocess = sys.modules.get("subprocess")
        if hasattr(subprocess, "_fork_exec"):  # a name of its own, since Python 3.11
            subprocess._fork_exec = _posixsubprocess.fork_exec  # type: ignore[union-attr]

    def forget(self) -> None:
        """In a fork: what was noted so far are its parent's children."""
        self._own.clear()
        self.may_exist = False

    def own(self) -> set[int]:
        """Those of this process's children that it started itself, dead ones included that nobody has waited for."""
        self._own = {pid for pid in self._own if _state(pid) != "none"}
        return set(self._own)

    def living(self) -> set[int]:
        """Those of them that have not ended."""
        return {pid for pid in self._own if _state(pid) == "lives"}

    def reap(self) -> bool:
        """Reap the orphans that have ended; whether others live."""
        orphans = posix.children() - self.own()
        ended = {pid for pid in orphans if _state(pid) == "ended"}
        if ended and posix.thread_count() > 1:  # what C code in a thread waits for, as `system` does, is gone at once
            time.sleep(_SETTLE_S)
            ended = {pid for pid in ended if _state(pid) == "ended"}
        for pid in ended:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        return bool(orphans - ended)

    def reap_until_readable(self, fd: int) -> None:
        """Reap as they end, until there is something to read or no orphan lives."""
        while self.reap():
            if posix.is_readable(fd, REAP_EVERY_S):
                self.reap()
                return

    def _noting(self, make: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(make)
        def noting(*args: Any, **options: Any) -> Any:
            self.may_exist = True
            made = make(*args, **options)
            self._own.add(made[0] if isinstance(made, tuple) else made)  # what is no child is soon forgotten
            return made

        return noting


def _state(pid: int) -> Literal["none", "lives", "ended"]:
    """Of a child of this process, whichever thread started it; `none` if it is no child, or was waited for."""
    try:
        return "ended" if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) else "lives"
    except OSError:
        return "none"
