"""The instance: one process that runs one function for one event after another, until the dispatcher closes its end.

Theory of operation. A fork shares its template's memory until one of both writes to it; a reference count is enough to
have a page copied, which takes microseconds, and hundreds of such pages are what a start by fork costs. So all that can
be made before the fork is made there, once (`Prepared`), and what is left to the instance is a few straight lines.

A sync handler runs in the main thread between a blocking read and a write. At the deadline the dispatcher sends
SIGTERM, which raises SystemExit in the handler so that its `finally` blocks run; a handler that does not answer within
the grace is killed from outside. Async handlers live in `aio.py`.
"""

import atexit
import contextlib
import os
import resource
import signal
import socket
import sys
import time
import weakref
from types import FrameType
from typing import NoReturn

from . import chance, forked, handler, invocation, leftovers, logs, posix, wire
from .orphans import Orphans

_Limit = tuple[int, int]


class Prepared:
    """What every instance of a function begins with, made in its template after the import."""

    def __init__(
        self,
        function: "handler.Function",
        orphans: Orphans,
        anew: "dict[int, int]",
        stack: int,
        *,
        files: _Limit,
        data: _Limit,
    ) -> None:
        """`anew`: the descriptors that a fork opens anew, with flags; `stack`: the one that faulthandler writes to.

        `files` and `data` are an instance's RLIMIT_NOFILE and RLIMIT_DATA.
        """
        self.function = function
        self.stack = stack
        self.files = files
        self.data = data
        self.has_terminal = posix.is_terminal(0)
        self.orphans = orphans
        self.anew = anew
        self.sync = None if function.is_async else _Sync(function, orphans)
        self.reseeds = chance.reseeders()
        self.finalizers = [*getattr(weakref.finalize, "_registry", ())]
        if "tempfile" in sys.modules:  # it may remember the template's own folder
            sys.modules["tempfile"].tempdir = None  # type: ignore[attr-defined]


def main(prepared: Prepared, fds: "list[int]", env: "dict[str, str]", *, is_fork: bool) -> NoReturn:
    """Take on what is this instance's own, then serve. `fds`: data socket, log, lifeline, stack. Never returns.

    `env`: the variables that siblings must not share. They are set here and not before the fork, as the C library keeps
    every value that a variable has had (setenv), and a template would grow with each fork.
    """
    data, log, lifeline, stack = fds
    if is_fork:
        os.setsid()
        prepared.orphans.forget()
        for fd, flags in prepared.anew.items():
            leftovers.open_anew(fd, flags)
    os.environ.update(env)
    if not prepared.has_terminal:  # else 1 and 2 are the terminal already
        os.dup2(log, 1)
        os.dup2(log, 2)
    os.dup2(stack, prepared.stack, False)
    os.close(stack)
    posix.arm_lifeline(lifeline)
    posix.become_subreaper()
    resource.setrlimit(resource.RLIMIT_NOFILE, prepared.files)
    resource.setrlimit(resource.RLIMIT_DATA, prepared.data)
    if is_fork and prepared.reseeds:
        chance.run(prepared.reseeds)
    status = 1
    try:
        status = _serve(prepared, data, log)
        _run_exit_functions(prepared.finalizers if is_fork else [])
    finally:
        logs.flush()
        os._exit(status)


def _serve(prepared: Prepared, data: int, log: int) -> int:
    """Answer calls until end of file, then run the `stop` hook; the exit status."""
    function, sync = prepared.function, prepared.sync
    if sync is not None:
        sync.is_instance = True
    if "after_fork" in function.hooks and not _run_after_fork(function, data):
        return 1
    try:
        if sync is None:
            from . import aio

            aio.serve(function, socket.socket(fileno=data), log, prepared.stack, prepared.orphans)
        else:
            sync.serve(data, log)
            function.run_hook("stop")
    except handler.LoadError as error:  # nobody waits for a `stop` hook: its failure is told in the log
        sys.stderr.write(f"{error.message}\n{error.traceback}")
        return 1
    return 0


def _run_exit_functions(inherited: "list[object]") -> None:
    """What was registered with `atexit`, at import too: at an instance's orderly end, and only there.

    `inherited` finalizers belong to what the template made: removing its temporary folder is not for a fork to do.
    The dispatcher kills whoever takes longer than the grace.
    """
    for finalizer in inherited:
        finalizer.atexit = False  # type: ignore[attr-defined]
    with forked.Guard(), contextlib.suppress(BaseException):
        atexit._run_exitfuncs()


def _run_after_fork(function: "handler.Function", data: int) -> bool:
    """Whether the hook went well. The dispatcher gives no event to an instance that has not said so."""
    try:
        function.run_hook("after_fork")
    except handler.LoadError as error:
        unfit = {"t": "unfit", "code": error.code, "message": error.message, "traceback": error.traceback}
        wire.write(data, unfit, [])
        return False
    wire.write(data, {"t": "ready"}, [])
    return True


class _Sync:
    """The serve loop of a sync handler."""

    def __init__(self, function: "handler.Function", orphans: Orphans) -> None:
        self.is_instance = False
        """False in the template, which forks instances and has no handler to end."""
        self._function = function
        self._orphans = orphans
        self._frames = wire.Frames()
        self._deadline_ns = 0
        """of the call that runs; 0 between calls"""
        self._expired = False
        self._heed_deadlines()  # already in a hook: the default action would leave no stack
        os.register_at_fork(
            before=self._hold_sigterm, after_in_parent=self._release_sigterm, after_in_child=self._forget_deadlines
        )

    def serve(self, data: int, log: int) -> None:
        """Read, run, write, until the dispatcher closes its end."""
        if self._function.hooks:  # one may have set a handler of its own
            self._heed_deadlines()
        frames, has_expired, orphans = self._frames, self._has_expired, self._orphans
        while True:
            if orphans.may_exist:
                orphans.reap_until_readable(data)
            frame = wire.read(data, frames)
            if frame is None:
                return
            head, body = frame
            if head["t"] != "invoke":  # a `cancel` that SIGTERM has overtaken
                continue
            self._deadline_ns = head["deadline_ns"]
            try:
                reply = invocation.run(self._function, head, body, has_expired)
            except SystemExit:  # the deadline struck in our own code, outside the handler: silence says it too
                return
            self._deadline_ns = 0
            reply.header["log"] = logs.has_unread(log)
            wire.write(data, reply.header, reply.chunks)

    def _has_expired(self) -> bool:
        return self._expired

    def _heed_deadlines(self) -> None:
        signal.signal(signal.SIGTERM, self._on_deadline)

    def _on_deadline(self, _signal: int, _frame: FrameType | None) -> None:
        """A SIGTERM that comes earlier is not the dispatcher's: somebody sent it to the whole group, or cgroup."""
        if 0 < self._deadline_ns <= time.monotonic_ns():
            self._expired = True
            raise SystemExit("the deadline has passed")

    def _hold_sigterm(self) -> None:
        """Python forgets a signal that reaches a child before it knows that it is one: hold it back until then."""
        if self.is_instance:
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def _release_sigterm(self) -> None:
        if self.is_instance:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})

    def _forget_deadlines(self) -> None:
        """In a child of the handler SIGTERM does what it does in every other process."""
        if self.is_instance:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            self._release_sigterm()
