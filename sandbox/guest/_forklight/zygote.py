"""The zygote: an interpreter with the runtime's libraries loaded. It forks templates and sweeps orphans.

Theory of operation. One thread polls the control socket and a wake-up for SIGCHLD. The zygote is a subreaper: whatever
a template or an orphaned instance leaves behind becomes its child. The server names the adopted children to kill
(`sweep{kill}`), and the zygote kills and reaps them. The end of the control socket means that the server has ended: the
zygote then kills and reaps all its children before it exits, so that nothing outlives the server.
"""

import contextlib
import gc
import os
import select
import signal
import socket
import sys
from typing import Any, NoReturn

from . import box, chance, control, imports, leftovers, posix, survey, template, users, warmup

_IGNORED = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)
_MAX_PATH = 100
"""How many folders of `sys.path` the server is told."""
_TEMPLATE_FDS = 4
"""How many descriptors a template gets, the box's not counted."""
_MAX_LEFT = 1000
"""How many pids fit into one message."""


def main(control_fd: int, lifeline: int) -> NoReturn:
    """Preload, send `hello`, then serve until the server closes the control socket. Never returns."""
    connection = socket.socket(fileno=control_fd)
    connection.set_inheritable(False)
    os.set_inheritable(lifeline, False)
    try:
        before = {number: signal.signal(number, signal.SIG_IGN) for number in _IGNORED}
        posix.become_subreaper()
        posix.wake_without_preempting()
        posix.forbid_new_privileges()
        preloaded = _preload(connection, lifeline)
        Zygote(connection, before, preloaded).run()
    except control.Ended:
        posix.kill_children(kill=users.kill)
    os._exit(0)


def _preload(connection: socket.socket, lifeline: int) -> template.Preloaded:
    """Import the modules that the runtime names; returns what they have left.

    The lifeline kills the zygote only in here. Later the zygote must survive the server in order to sweep.
    """
    posix.arm_lifeline(lifeline)
    message, _ = control.receive(connection)
    posix.forbid_inspection()  # not earlier: the server first writes our oom_score_adj, then sends its first message
    if message["filter"]:
        posix.set_filter(bytes.fromhex(message["filter"]))  # before anything is imported that could change the user
    before = leftovers.open_now()
    for name in message["preload"]:
        try:
            __import__(name)
        except BaseException as error:
            text = f"{type(error).__name__}: {error}"
            if isinstance(error, ModuleNotFoundError) and error.name:
                text += f". {imports.how_to_add(error.name.partition('.')[0], '')}"
            control.send(
                connection,
                {"t": "failed", "n": 0, "code": "ImportModuleError", "message": f"cannot preload {name!r}: {text}"},
            )
            os._exit(1)
    objects = survey.Survey()
    left = leftovers.left_open(before, (), objects)
    new = frozenset(leftovers.open_now()) - before.keys()
    preloaded = template.Preloaded(new, left.held, chance.find(objects))
    del objects
    warmup.warm_up()
    gc.collect()
    gc.freeze()
    gc.disable()
    posix.soften_lifeline(lifeline)
    hello = {
        "t": "hello",
        "n": 0,
        "version": list(sys.version_info[:3]),
        "prefix": sys.prefix,
        "base_prefix": sys.base_prefix,
        "path": sys.path[:_MAX_PATH],
        "rss_kb": posix.memory_kb(),
        "threads": posix.thread_count(),
        "unsafe": left.unsafe,
    }
    control.send(connection, hello)
    return preloaded


class Zygote:
    """Forks templates, reaps children, sweeps orphans."""

    def __init__(
        self, connection: socket.socket, handlers: "dict[signal.Signals, Any]", preloaded: template.Preloaded
    ) -> None:
        """`handlers`: the templates' handlers of signals that are ignored here; `preloaded`: for the templates."""
        self._connection = connection
        self._handlers = handlers
        self._preloaded = preloaded
        self._templates: dict[int, int] = {}
        """pid → the server's number of the template"""
        self._wake, wake_end = socket.socketpair()
        self._wake_end = wake_end
        for end in (self._wake, wake_end):
            end.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake_end.fileno(), warn_on_full_buffer=False)

    def run(self) -> NoReturn:
        """Serve until the server ends, then raise control.Ended."""
        poll = select.poll()
        poll.register(self._connection, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        while True:
            ready = {fd for fd, _ in poll.poll()}
            if self._wake.fileno() in ready:
                with contextlib.suppress(BlockingIOError):
                    self._wake.recv(4096)
                self._reap()
            if self._connection.fileno() in ready:
                self._answer(*control.receive(self._connection))

    def _answer(self, message: dict[str, Any], fds: list[int]) -> None:
        if message["t"] == "template":
            self._fork_template(message, fds)
        elif message["t"] == "sweep":
            self._sweep(message["n"], set(message["kill"]))

    def _sweep(self, n: int, unwanted: set[int]) -> None:
        """Kill the orphans that the server names, and report the others, which only the server can judge."""
        self._reap()  # reports the dead before `swept`, whose reader takes the rest to be alive
        for end in posix.kill_and_reap(unwanted & self._adopted(), kill=users.kill):
            self._report(end)
        left = sorted(self._adopted())[:_MAX_LEFT]  # the rest is reported once these are gone
        control.send(self._connection, {"t": "swept", "n": n, "left": left})

    def _adopted(self) -> set[int]:
        return posix.children() - self._templates.keys()

    def _fork_template(self, message: dict[str, Any], fds: list[int]) -> None:
        """Fork a template, as a user of its own and into a box if the server says so, and answer."""
        n, namespaces = message["n"], message.get("namespaces", 0)
        user = users.User(*message["user"]) if message["user"] else None
        try:
            entrance = box.Entrance(fds[-1], namespaces) if namespaces else None
            pid, pidfd = self._make_template(fds[:_TEMPLATE_FDS], user, entrance)
        except OSError as error:
            control.send(self._connection, {"t": "error", "n": n, "errno": error.errno})
            return
        finally:
            control.close(fds)
        self._templates[pid] = n
        control.send(self._connection, {"t": "template", "n": n, "pid": pid}, (pidfd,))
        os.close(pidfd)

    def _make_template(
        self, fds: list[int], user: "users.User | None", entrance: "box.Entrance | None"
    ) -> tuple[int, int]:
        """The pid and the pidfd of a new template."""
        pid = os.fork() if user is None else users.fork_as(user)
        if pid == 0:
            self._leave_behind()
            template.main(*fds, entrance=entrance, preloaded=self._preloaded)
        if entrance is None:
            return pid, os.pidfd_open(pid)
        pidfd = entrance.wait(pid)
        return posix.pid_of(pidfd), pidfd

    def _leave_behind(self) -> None:
        """In a new template: detach from the zygote's descriptors, whose numbers are about to be reused."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        for end in (self._connection, self._wake, self._wake_end):
            end.detach()

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while (end := posix.reap()) is not None:
                self._report(end)

    def _report(self, end: posix.End) -> None:
        message: dict[str, Any] = {"t": "exited", "pid": end.pid, "code": end.code, "cpu_ms": end.cpu_ms}
        n = self._templates.pop(end.pid, None)
        if n is not None:
            message["n"] = n
        control.send(self._connection, message)
