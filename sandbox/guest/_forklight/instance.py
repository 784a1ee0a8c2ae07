"""The instance: a process that runs one function for one event after another, until the server closes its end.

Theory of operation. A fork shares the memory of its template until either of them writes to it. Changing a reference
count is enough to copy a page, which takes microseconds, and hundreds of copied pages are the cost of a start by fork.
So everything possible is prepared once in the template (`Prepared`), and the instance runs only a few straight lines.

A sync handler runs in the main thread, between a blocking read and a write. At the deadline the server sends SIGTERM,
which raises SystemExit in the handler so that its `finally` blocks run; the server kills a handler that does not answer
within the grace. `aio.py` serves async handlers.
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
from typing import Any, NoReturn

from . import at_fork, chance, environ, forked, handler, invocation, leftovers, logs, posix, program, tidying, wire
from .appeared import Watch
from .orphans import Orphans
from .warmup import Empty

_Limit = tuple[int, int]


class Prepared:
    """What every instance of a function starts with, prepared in its template after the import."""

    def __init__(
        self,
        function: "handler.Function",
        orphans: Orphans,
        anew: "dict[int, int]",
        reseeds: "list[chance.Reseed]",
        memory: int,
        *,
        code: str,
        files: _Limit,
        data: _Limit,
    ) -> None:
        """`anew`: the descriptors that a fork opens anew, with flags; `reseeds`: what it calls for random numbers.

        `memory`: the number of the descriptor that faulthandler writes to.

        `code` is the function's folder; `files` and `data` are the RLIMIT_NOFILE and RLIMIT_DATA of an instance.
        """
        self.function = function
        self.memory = wire.shared.fd = memory
        self.files = files
        self.data = data
        self.has_terminal = posix.is_terminal(0)
        self.orphans = orphans
        self.anew = anew
        self.sync = None if function.is_async else _Sync(function, orphans)
        if function.is_async:
            from . import aio  # noqa: F401 - once here instead of in every instance
        self.reseeds = reseeds
        self.code = code
        self.empty = Empty(function)
        self.rehearsed: list[str] = []
        """Modules that calls import, which are loaded."""
        self.finalizers = [*getattr(weakref.finalize, "_registry", ())]
        if "tempfile" in sys.modules:  # it may have cached the template's own folder
            sys.modules["tempfile"].tempdir = None  # type: ignore[attr-defined]


def main(prepared: Prepared, request: "dict[str, Any]", fds: "list[int]", *, is_fork: bool) -> NoReturn:
    """Switch to this instance's own descriptors, variables and limits, then serve. Never returns.

    `request`: what the server asked for, see `_serve`; its `env` has the variables that differ between instances. They
    are set after the fork, because the C library keeps every old value (setenv), and a template would grow with each
    fork. `fds`: data socket, log, lifeline, shared memory.
    """
    data = enter(prepared, request, fds, is_fork=is_fork)
    if is_fork and prepared.reseeds:
        chance.run(prepared.reseeds)
    status = 1
    try:
        status = _serve(prepared, request, data, fds[1])
        _run_exit_functions(prepared.finalizers if is_fork else [])
    finally:
        logs.flush()
        os._exit(status)


def enter(prepared: "Prepared | program.Program", request: "dict[str, Any]", fds: "list[int]", *, is_fork: bool) -> int:
    """Switch to this instance's own descriptors, variables and limits; returns the data socket."""
    data, log, lifeline, memory = fds
    if is_fork:
        os.setsid()
        for fd, flags in prepared.anew.items():
            leftovers.open_anew(fd, flags)
    else:
        posix.arm_lifeline(lifeline)
    environ.replace(request["env"])
    if not prepared.has_terminal:  # else 1 and 2 are the terminal
        os.dup2(log, 1)
        os.dup2(log, 2)
    os.dup2(memory, prepared.memory, False)  # faulthandler keeps writing to the number that the template gave it
    os.close(memory)
    if "folder" in request:  # in a box
        posix.drop_capabilities()
        with contextlib.suppress(OSError):  # tempfile then takes /tmp
            os.mkdir(request["folder"], 0o700)
    posix.become_subreaper()
    resource.setrlimit(resource.RLIMIT_NOFILE, prepared.files)
    resource.setrlimit(resource.RLIMIT_DATA, prepared.data)
    return data


def _serve(prepared: Prepared, request: "dict[str, Any]", data: int, log: int) -> int:
    """Answer calls until end of file, then run the `stop` hook. Returns the exit status.

    With `calls` in the request, it ends by itself after so many; with `warm`, no event waits for it yet; with `report`,
    it tells which modules of that scope the first call has imported.
    """
    function, sync = prepared.function, prepared.sync
    watch = Watch(prepared.code, request["report"]) if "report" in request else None
    empty, calls = prepared.empty if "warm" in request else None, request.get("calls")
    if sync is not None:
        sync.is_instance = True
    if "after_fork" in function.hooks and not _run_after_fork(function, data):
        return 1
    if "warm" in request:  # even the import of a loaded module copies a few pages
        for name in prepared.rehearsed:
            if name in sys.modules:
                __import__(name)
    try:
        if sync is None:
            from . import aio

            connection, memory, orphans = socket.socket(fileno=data), prepared.memory, prepared.orphans
            aio.serve(function, connection, log, memory, orphans, watch=watch, empty=empty, calls=calls)
        else:
            if empty is not None:
                sync.warm(empty, log)
            sync.serve(data, log, watch, calls)
            function.run_hook("stop")
    except handler.LoadError as error:  # nobody waits for a `stop` hook, so its failure goes to the log
        sys.stderr.write(f"{error.message}\n{error.traceback}")
        return 1
    return 0


def _run_exit_functions(inherited: "list[object]") -> None:
    """Run `atexit` functions, including those registered at import, at the orderly end of an instance.

    `inherited` finalizers belong to objects of the template: a fork must not remove the template's temporary folder.
    The server kills an instance that takes longer than the grace.
    """
    for finalizer in inherited:
        finalizer.atexit = False  # type: ignore[attr-defined]
    with forked.Guard(), contextlib.suppress(BaseException):
        atexit._run_exitfuncs()


def _run_after_fork(function: "handler.Function", data: int) -> bool:
    """Run the hook and report its result, which the server awaits before the first event. Returns whether it ran."""
    try:
        function.run_hook("after_fork")
    except handler.LoadError as error:
        unfit = {"t": "unfit", "code": error.code, "message": error.message, "traceback": error.traceback}
        wire.write(data, wire.pack(wire.encode(unfit), []))
        return False
    wire.write(data, wire.pack('{"t":"ready"}', []))
    return True


class _Sync:
    """The serve loop of a sync handler."""

    def __init__(self, function: "handler.Function", orphans: Orphans) -> None:
        self.is_instance = False
        """False in the template, which runs no handler that SIGTERM could end."""
        self._function = function
        self._orphans = orphans
        self._frames = wire.Frames()
        self._deadline_ns = 0
        """of the call that runs; 0 between calls"""
        self._expired = False
        self._handle_deadlines()  # in hooks, too: the default action would leave no stack
        at_fork.register(
            before=self._hold_sigterm, after_in_parent=self._release_sigterm, after_in_child=self._forget_deadlines
        )

    def warm(self, empty: Empty, log: int) -> None:
        """Run an empty call, all but the read and the write."""
        self._frames.feed(empty.frame)
        head, body = self._frames.next() or ({}, b"")
        invocation.run(empty.function, head, body, self._has_expired).pack(logs.has_unread(log))

    def serve(self, data: int, log: int, watch: "Watch | None", calls: "int | None") -> None:
        """Read an event, run the handler, write the reply, until the server closes its end, or `calls` times.

        With a `watch`, the first reply of a handler that succeeds follows what it has seen.
        """
        if self._function.hooks:  # a hook may have set a signal handler of its own
            self._handle_deadlines()
        frames, has_expired, orphans = self._frames, self._has_expired, self._orphans
        while calls is None or calls > 0:
            if orphans.may_exist:
                orphans.reap_until_readable(data)
            frame = wire.read(data, frames)
            if frame is None:
                return
            head, body = frame
            if head["t"] != "invoke":
                if head["t"] == "tidy":
                    tidying.tidy(data)
                continue  # else a `cancel`: SIGTERM arrived first
            self._deadline_ns = head["deadline_ns"]
            try:
                reply = invocation.run(self._function, head, body, has_expired)
            except (
                SystemExit
            ):  # the deadline passed in our own code, outside the handler: no reply means a timeout, too
                return
            self._deadline_ns = 0
            if watch is not None and reply.is_ok:
                wire.write(data, watch.frame())
                watch = None
            wire.write(data, reply.pack(logs.has_unread(log)))
            if calls is not None:
                calls -= 1

    def _has_expired(self) -> bool:
        return self._expired

    def _handle_deadlines(self) -> None:
        signal.signal(signal.SIGTERM, self._on_deadline)

    def _on_deadline(self, _signal: int, _frame: FrameType | None) -> None:
        """Ignore an earlier SIGTERM, which is not the server's: it was sent to the whole process group or cgroup."""
        if 0 < self._deadline_ns <= time.monotonic_ns():
            self._expired = True
            raise SystemExit("the deadline has passed")

    def _hold_sigterm(self) -> None:
        """Block SIGTERM during a fork, because Python drops a signal that arrives before the child is initialized."""
        if self.is_instance:
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def _release_sigterm(self) -> None:
        if self.is_instance:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})

    def _forget_deadlines(self) -> None:
        """Restore the default action of SIGTERM in a child of the handler."""
        if self.is_instance:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            self._release_sigterm()
