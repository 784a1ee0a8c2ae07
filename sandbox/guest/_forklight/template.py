"""The template: one version of one function, imported once, that then does nothing but fork instances.

The order of the first steps is the boundary: close what was inherited, enter the box, own session, no inspection, then
the limits, and only then the function's code. What is applied after the import could be undone by it.
"""

import contextlib
import faulthandler
import gc
import json
import os
import resource
import select
import socket
import sys
import time
from typing import Any, NoReturn

from . import box, control, environ, handler, instance, leftovers, logs, names, posix, threads, wire
from .orphans import Orphans

_MAX_OWNER_CHARS = 500
_MAX_THREADS = 256
"""That there is always room for. More start where a function uses little else, or with `threading.stack_size`."""
_STACK_BYTES = 8 * 1024 * 1024
_MAX_MESSAGE_CHARS = 2000
_fork = os.fork
"""Itself: what the function's code calls by this name notes its children."""


def main(
    connection_fd: int,
    log: int,
    lifeline: int,
    stack: int,
    box_pidfd: int | None = None,
    *,
    preloaded: frozenset[int] = frozenset(),
) -> NoReturn:
    """Become a template (just forked from the zygote), load what the dispatcher says, fork instances. Never returns.

    `preloaded`: descriptors that belong to what the zygote has imported.
    """
    own = {connection_fd, log, lifeline, stack, *([] if box_pidfd is None else [box_pidfd])}
    posix.close_all_but(own | preloaded)
    box.enter(box_pidfd)
    os.setsid()
    os.umask(0o077)
    _redirect(log)
    posix.arm_lifeline(lifeline)
    posix.become_subreaper()
    posix.forbid_inspection()
    faulthandler.enable(stack)
    faulthandler.register(wire.STACK_SIGNAL, stack)  # before any fork: a signal to a newborn instance must find it
    connection = socket.socket(fileno=connection_fd)
    connection.settimeout(None)  # a preloaded library may have called socket.setdefaulttimeout
    try:
        Template(connection, log, lifeline, stack, preloaded).run()
    except control.Ended:
        pass
    finally:  # also after an error of ours: this process must not fall back into the zygote's loop
        with contextlib.suppress(Exception):
            traceback = sys.exc_info()[1]
            if traceback is not None:
                sys.excepthook(type(traceback), traceback, traceback.__traceback__)
        posix.kill_children()
        os._exit(0)


def _redirect(log: int) -> None:
    """Descriptors 0 to 2 are the function's: the zygote's input, and twice its log, or the terminal that the input is.

    The input is empty but for a tree that was started at a terminal or a pipe for this one purpose.
    """
    output = 0 if posix.is_terminal(0) else log
    for target in (1, 2):
        os.dup2(output, target)


class Template:
    """Loads once, then forks on request and reports the ends of what it forked."""

    def __init__(
        self, connection: socket.socket, log: int, lifeline: int, stack: int, preloaded: frozenset[int]
    ) -> None:
        self._connection = connection
        self._own_fds = (log, lifeline)
        self._stack = stack
        self._preloaded = preloaded
        self._orphans = Orphans()
        self._instances: dict[int, tuple[int, int]] = {}
        """pidfd → (the number the dispatcher gave the instance, pid)"""
        self._older: set[int] = set()
        """children that the function's import or its `init` hook started; they end with the template"""

    def run(self) -> NoReturn:
        """Serve until the dispatcher closes the socket; raises control.Ended then."""
        message, _ = control.receive(self._connection)
        self._load(message)
        poll = select.poll()
        poll.register(self._connection, select.POLLIN)
        while True:
            for fd, _ in poll.poll():
                if fd in self._instances:
                    poll.unregister(fd)
                    self._bury(fd)
                elif fd == self._connection.fileno():
                    pidfd = self._answer(*control.receive(self._connection))
                    if pidfd is not None:
                        poll.register(pidfd, select.POLLIN)

    def _load(self, message: dict[str, Any]) -> None:
        """Apply what must be in force before the first line of the function's code, then import it."""
        started = time.monotonic()
        _limit(message["limits"])
        os.chdir(message["code"])
        logs.set_up(message["log_level"])
        environ.take_on(message["env"])  # on top of the zygote's, which has the runtime's own and nothing else
        place = _after_standard_library()
        sys.path[place:place] = [message["code"], *environ.extra_path()]
        sys.argv[:] = [message["function"]["handler"]]
        before = {fd: link for fd, link in leftovers.open_now().items() if fd not in self._preloaded}
        self._orphans.watch()
        try:
            with threads.watch_threads() as seen:
                self._function = _load_function(message)
                self._function.run_hook("init")
        except handler.LoadError as error:
            logs.flush()
            control.send(self._connection, _failed(error))
            raise control.Ended from None
        logs.flush()
        left = leftovers.left_open(before, self._orphans.living())
        self._prepare(message["limits"], left.anew)
        self._older = posix.children()
        loaded = {
            "t": "loaded",
            "n": 0,
            "ms": (time.monotonic() - started) * 1000,
            "threads": seen.count,
            "thread_owner": seen.owner[:_MAX_OWNER_CHARS],
            "asynchronous": self._function.is_async,
            "unsafe": left.unsafe,
            "shared": left.shared,
            "rss_kb": posix.memory_kb(),
        }
        control.send(self._connection, loaded)

    def _prepare(self, limits: dict[str, int], anew: dict[int, int]) -> None:
        """Make what every instance begins with; what is garbage now, none of them has to copy."""
        _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
        _, most_data = resource.getrlimit(resource.RLIMIT_DATA)
        gc.collect()
        files = _at_most(limits["open_files"], most_files)
        data = _at_most(posix.data_bytes() + 4 * limits["memory_bytes"] + _room_for_stacks(), most_data)
        self._prepared = instance.Prepared(
            self._function, self._orphans, anew, self._stack, files=(files, files), data=(data, data)
        )
        resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))  # one for each instance
        gc.freeze()
        gc.enable()  # for the instances: here nothing that could be collected is left, or comes

    def _answer(self, message: dict[str, Any], fds: list[int]) -> int | None:
        if message["t"] == "fork":
            return self._fork(message["n"], fds, message["env"])
        if message["t"] == "become":  # threads are alive: forking would be unsafe, so this process is the instance
            control.send(self._connection, {"t": "became", "n": message["n"]})
            self._become(fds, message["env"], is_fork=False)
        raise control.Ended  # `stop`, and whatever this guest does not know

    def _fork(self, n: int, fds: list[int], env: dict[str, str]) -> int | None:
        try:
            pid = _fork()
        except OSError as error:
            control.close(tuple(fds))
            control.send(self._connection, {"t": "error", "n": n, "errno": error.errno})
            return None
        if pid == 0:
            self._become(fds, env, is_fork=True)
        control.close(tuple(fds))  # at once: a data end held here would hide the instance's end of file
        pidfd = os.pidfd_open(pid)
        self._instances[pidfd] = (n, pid)
        control.send(self._connection, {"t": "forked", "n": n, "pid": pid}, (pidfd,))
        return pidfd

    def _become(self, fds: list[int], env: dict[str, str], *, is_fork: bool) -> NoReturn:
        """Turn this process (a fresh fork, or the template itself) into the instance; never returns to the template."""
        for pidfd in self._instances:
            os.close(pidfd)
        os.close(self._connection.detach())
        log, lifeline = self._own_fds
        os.close(log)
        os.close(lifeline)
        instance.main(self._prepared, fds, env, is_fork=is_fork)

    def _bury(self, pidfd: int) -> None:
        """Reap a dead instance, kill all it left behind, then say how it ended: in this order, so that said is gone."""
        n, pid = self._instances.pop(pidfd)
        os.close(pidfd)
        _, status = os.waitpid(pid, 0)
        posix.kill_children({*self._older, *(pid for _, pid in self._instances.values())})
        control.send(self._connection, {"t": "exited", "n": n, "pid": pid, "code": os.waitstatus_to_exitcode(status)})


def _load_function(message: dict[str, Any]) -> "handler.Function":
    """Raises handler.LoadError, also if the code imports what the standard library hides from it."""
    shared = names.own_names()
    if names.TESTS in shared:
        sys.meta_path.insert(0, names.OwnTests(message["code"]))
    hidden = shared - {names.TESTS}
    try:
        return handler.load(**message["function"])
    finally:
        where = names.hidden_import(hidden) if hidden else None
        if where is not None:
            advice = "the function's code has that too, but the standard library's is imported instead: rename it"
            raise handler.LoadError("BuiltInModuleConflict", f"{where}: {advice}")


def _failed(error: "handler.LoadError") -> dict[str, Any]:
    """What could not be loaded, in one message: of a long traceback its end, which tells most, in JSON's escapes."""
    failed: dict[str, Any] = {
        "t": "failed",
        "n": 0,
        "code": error.code,
        "message": error.message,
        "traceback": error.traceback,
    }
    while len(json.dumps(failed)) > wire.MAX_MESSAGE_BYTES:
        failed["traceback"] = failed["traceback"][len(failed["traceback"]) // 2 + 1 :]
        failed["message"] = failed["message"][:_MAX_MESSAGE_CHARS]
    return failed


def _limit(limits: dict[str, int]) -> None:
    """Set what the kernel keeps per process; memory that it cannot count (memfd) is watched by the dispatcher."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (_at_most(limits["open_files"], hard), hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limits["file_bytes"], limits["file_bytes"]))
    backstop = 4 * limits["template_memory_bytes"]
    resource.setrlimit(resource.RLIMIT_DATA, (backstop, backstop))


def _room_for_stacks() -> int:
    """What stacks of threads may take in RLIMIT_DATA, which counts them whole although most of it is never touched."""
    size, _ = resource.getrlimit(resource.RLIMIT_STACK)  # what glibc gives each thread
    return _MAX_THREADS * (_STACK_BYTES if size == resource.RLIM_INFINITY else min(size, _STACK_BYTES))


def _at_most(limit: int, hard: int) -> int:
    return limit if hard == resource.RLIM_INFINITY else min(limit, hard)


def _after_standard_library() -> int:
    """Where the function's code goes in `sys.path`: behind the standard library, before installed libraries."""
    for index, entry in enumerate(sys.path):
        if entry.endswith(("site-packages", "dist-packages")):
            return index
    return len(sys.path)
