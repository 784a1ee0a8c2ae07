"""The template: a process that imports one version of one function, then does nothing but fork instances.

The order of the first steps is a security boundary: close inherited descriptors, enter the box, start a session, forbid
inspection, set the limits, confine itself, and only then run the function's code, which could undo anything that came
later.
"""

import contextlib
import faulthandler
import gc
import json
import os
import select
import socket
import sys
import time
from typing import Any, NamedTuple, NoReturn

from . import (
    at_fork,
    box,
    chance,
    confine,
    control,
    environ,
    handler,
    instance,
    leftovers,
    limits,
    logs,
    names,
    own_files,
    posix,
    program,
    programs,
    survey,
    threads,
    tidying,
    wire,
)
from .orphans import Orphans
from .remains import Remains

_MAX_OWNER_CHARS = 500
_MAX_MESSAGE_CHARS = 2000
_FDS_EACH = 4
"""How many descriptors come with each request for an instance."""
_MAX_ENDED = 1000
"""How many ended instances fit into one message."""
_MAX_GENERATORS = 20
_MAX_GENERATOR_CHARS = 300


class Preloaded(NamedTuple):
    """What the libraries that the zygote has preloaded have left in it."""

    descriptors: frozenset[int]
    held: list[str]
    """locks"""
    generators: chance.Generators


def main(
    connection_fd: int,
    log: int,
    lifeline: int,
    memory: int,
    *,
    entrance: "box.Entrance | None",
    preloaded: Preloaded,
) -> NoReturn:
    """Turn a fresh fork of the zygote into a template: load the function, then fork instances. Never returns."""
    own = {connection_fd, log, lifeline, memory}
    posix.close_all_but(own | preloaded.descriptors | {*(() if entrance is None else entrance.fds)})
    if entrance is not None:
        entrance.enter()
    os.setsid()
    os.umask(0o077)
    _redirect(log)
    posix.arm_lifeline(lifeline)
    posix.become_subreaper()
    posix.forbid_inspection()
    faulthandler.enable(memory)
    faulthandler.register(wire.STACK_SIGNAL, memory)  # before any fork, so that a newborn instance can get the signal
    connection = socket.socket(fileno=connection_fd)
    connection.settimeout(None)  # a preloaded library may have called socket.setdefaulttimeout
    try:
        nursery = None if entrance is None else box.Nursery()
        Template(connection, log, lifeline, memory, preloaded=preloaded, nursery=nursery).run()
    except control.Ended:
        pass
    finally:  # also after a bug of ours: this process must not return to the zygote's loop
        with contextlib.suppress(Exception):
            traceback = sys.exc_info()[1]
            if traceback is not None:
                sys.excepthook(type(traceback), traceback, traceback.__traceback__)
        posix.kill_children()
        os._exit(0)


def _redirect(log: int) -> None:
    """Set the function's standard output and error: its log, or the terminal if standard input is one.

    Standard input is empty, unless the tree was started to share the input of its starter (`shares_input`).
    """
    output = 0 if posix.is_terminal(0) else log
    for target in (1, 2):
        os.dup2(output, target)


class Template:
    """Loads a function once, then forks instances on request and reports their ends."""

    def __init__(
        self,
        connection: socket.socket,
        log: int,
        lifeline: int,
        memory: int,
        *,
        preloaded: Preloaded,
        nursery: "box.Nursery | None",
    ) -> None:
        self._connection = connection
        self._own_fds = (connection.fileno(), log, lifeline, *(() if nursery is None else (nursery.fd,)))
        self._fork_child = at_fork.fork_bare if nursery is None else nursery.fork
        self._is_in_box = nursery is not None
        self._remains = Remains()
        self._memory = memory
        self._preloaded = preloaded
        self._program: program.Program | None = None
        """What instances start with that are another program; None if the function is Python."""
        self._orphans = Orphans()
        self._instances: dict[int, tuple[int, int]] = {}
        """pidfd → (the server's number of the instance, pid)"""
        self._folders: dict[int, str] = {}
        """the server's number of the instance → its private folder, in a box only"""
        self._older: set[int] = set()
        """children that the import or the `init` hook started; they end with the template"""

    def run(self) -> NoReturn:
        """Serve until the server closes the socket, then raise control.Ended."""
        message, _ = control.receive(self._connection)
        while message["t"] == "listen":
            self._listen(message)
            message, _ = control.receive(self._connection)
        self._load(message)
        poll = select.poll()
        poll.register(self._connection, select.POLLIN)
        while True:
            ready = [fd for fd, _ in poll.poll(0 if self._remains.folders else None)]
            if not ready:
                self._remains.remove_some()
            if self._connection.fileno() in ready:  # first, because an event may wait for the new instances
                for pidfd in self._answer(*control.receive(self._connection)):
                    poll.register(pidfd, select.POLLIN)
            if dead := [fd for fd in ready if fd in self._instances]:
                for pidfd in dead:
                    poll.unregister(pidfd)
                self._bury(dead)

    def _listen(self, message: dict[str, Any]) -> None:
        """Listen in the network of the box, and give the sockets away: the function is not to have them."""
        from . import network

        try:
            sockets = network.listen(message["at"])
        except OSError as error:
            told = f"{error.filename}: {error.strerror}"
            control.send(self._connection, {"t": "failed", "n": message["n"], "message": told})
            return
        control.send(self._connection, {"t": "listening", "n": message["n"]}, tuple(one.fileno() for one in sockets))
        for one in sockets:
            one.close()

    def _load(self, message: dict[str, Any]) -> None:
        """Contain this process, then import the code, or hold what another program needs to do so itself."""
        started = time.monotonic()
        try:
            self._contain(message)
            os.chdir(message["code"])
            if message["program"] is not None:
                self._hold(message, started)
            else:
                self._import(message, started)
        except handler.LoadError as error:
            logs.flush()
            control.send(self._connection, _failed(error))
            raise control.Ended from None

    def _import(self, message: dict[str, Any], started: float) -> None:
        """Set logs, variables and `sys.path`, import the code and report the result."""
        logs.set_up(message["log_level"], has_several_calls=message["function"]["concurrency"] > 1)
        environ.take_on(message["env"])  # on top of the zygote's, which has only the runtime's variables
        place = _after_standard_library()
        sys.path[place:place] = [message["code"], *environ.extra_path()]
        sys.argv[:] = [message["function"]["handler"]]
        before = {fd: link for fd, link in leftovers.open_now().items() if fd not in self._preloaded.descriptors}
        self._orphans.watch()
        chance.run(self._preloaded.generators.reseeds)  # here, because this process may become an instance itself
        with threads.watch_threads() as seen:
            self._function = _load_function(message)
            self._function.run_hook("init")
        logs.flush()
        gc.collect()  # no instance has to copy the garbage, and a database connection is one until it is collected
        objects = survey.Survey()
        left = leftovers.left_open(before, self._orphans.living(), objects)
        rehearsed = {}
        if seen.count <= 1 and not left.unsafe and _has_imports_to_come(message["rehearse"]):
            del objects
            rehearsed = self._rehearse(message, before, left)
            objects = survey.Survey()
        generators = chance.find(objects, self._preloaded.generators)
        del objects  # it keeps what it has found
        self._prepare(message, left.anew, generators.reseeds)
        self._prepared.rehearsed = rehearsed.get("rehearsed", [])
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
            "held": [*self._preloaded.held, *left.held],
            "generators": [text[:_MAX_GENERATOR_CHARS] for text in generators.told[:_MAX_GENERATORS]],
            "files": own_files.loaded_files(message["code"]),
            "rss_kb": posix.memory_kb(),
        }
        control.send(self._connection, loaded | rehearsed)

    def _hold(self, message: dict[str, Any], started: float) -> None:
        """Hold what instances start with that are another program, which loads the function itself."""
        files, data = limits.of_instance(message["limits"])
        self._program = programs.of(message, self._memory, files, data)
        self._program.load(self._fork_child)
        loaded = {
            "t": "loaded",
            "n": 0,
            "ms": (time.monotonic() - started) * 1000,
            "asynchronous": self._program.is_async,
            "held": self._preloaded.held,
            "rss_kb": posix.memory_kb(),
        }
        gc.collect()
        gc.freeze()
        control.send(self._connection, loaded)

    def _contain(self, message: dict[str, Any]) -> None:
        """Limit and confine this process. Raises LoadError if the kernel refuses."""
        if "folder" in message:  # in a box
            os.mkdir(message["folder"], 0o700)
        limits.of_template(message["limits"])
        try:
            confine.confine(message["confine"])
        except confine.Unconfined as error:
            refused = f"the function cannot be confined: {error}; `forklight doctor` says what this machine has"
            raise handler.LoadError("InitFailed", refused) from None

    def _rehearse(self, message: dict[str, Any], before: dict[int, str], left: leftovers.Leftovers) -> dict[str, Any]:
        """Import what forks would import in their first call; returns fields of the report."""
        from . import rehearsal

        wanted = message["rehearse"]
        done = rehearsal.rehearse(wanted["modules"], wanted["refused"], message["code"], wanted["scope"])
        gc.collect()
        if not done.spoilt and leftovers.left_open(before, self._orphans.living(), survey.Survey()) != left:
            done.spoilt = "together they leave behind what the import of the function does not"
        return {"rehearsed": done.modules, "left_out": done.left_out, "spoilt": done.spoilt}

    def _prepare(self, message: dict[str, Any], anew: dict[int, int], reseeds: list[chance.Reseed]) -> None:
        """Prepare what every instance starts with."""
        files, data = limits.of_instance(message["limits"])
        self._prepared = instance.Prepared(
            self._function,
            self._orphans,
            anew,
            reseeds,
            self._memory,
            code=message["code"],
            files=files,
            data=data,
        )
        tidying.prepare()
        gc.freeze()
        gc.enable()  # for the instances; the template itself creates no more garbage

    def _answer(self, message: dict[str, Any], fds: list[int]) -> list[int]:
        """Do what the server asks for; returns the pidfds of new instances."""
        if message["t"] == "fork":
            return [
                pidfd for at, each in enumerate(message["each"]) if (pidfd := self._fork(each, fds, at * _FDS_EACH))
            ]
        if message["t"] == "become":  # forking would be unsafe, so this process becomes the instance itself
            control.send(self._connection, {"t": "became", "n": message["n"]})
            self._become(message, fds, is_fork=False)
        raise control.Ended  # `stop`, or a message that this guest does not know

    def _fork(self, request: dict[str, Any], fds: list[int], at: int) -> int | None:
        """Fork an instance and answer; None if that failed. `fds`: of all requests, open from `at` on."""
        own, others = fds[at : at + _FDS_EACH], fds[at + _FDS_EACH :]
        n = request["n"]
        try:
            if self._orphans.may_exist:  # here and not in the child, which would have to copy the pages
                self._orphans.forget()
            if self._program is not None:
                self._program.before_fork()
            pid = self._fork_child()
        except OSError as error:
            control.close(own)
            control.send(self._connection, {"t": "error", "n": n, "errno": error.errno})
            return None
        if pid == 0:
            if others:
                control.close(others)
            self._become(request, own, is_fork=True)
        pidfd = os.pidfd_open(pid)
        self._instances[pidfd] = (n, pid)
        if self._is_in_box:
            self._folders[n] = request["folder"]
        posix.tie_to_lifeline(pid, own[2])
        # Before the server knows of the instance: a copy of the data socket here would hide its death, and take events.
        control.close(own)
        control.send(self._connection, {"t": "forked", "n": n, "pid": pid}, (pidfd,))
        return pidfd

    def _become(self, request: dict[str, Any], fds: list[int], *, is_fork: bool) -> NoReturn:
        """Turn this process (a fresh fork, or the template itself) into an instance. Never returns."""
        for pidfd in self._instances:
            os.close(pidfd)
        for fd in self._own_fds:
            os.close(fd)
        if self._program is not None:
            instance.enter(self._program, request, fds, is_fork=is_fork)
            self._program.execute(request, *fds[:3])
        instance.main(self._prepared, request, fds, is_fork=is_fork)

    def _bury(self, pidfds: list[int]) -> None:
        """Reap dead instances, kill everything that they left behind, and only then report how they ended."""
        ended = []
        for pidfd in pidfds:
            n, pid = self._instances.pop(pidfd)
            os.close(pidfd)
            _, status = os.waitpid(pid, 0)
            ended.append((n, os.waitstatus_to_exitcode(status)))
            if self._program is not None:
                self._program.on_end(ended[-1][1])
            if self._is_in_box:
                self._remains.add(self._folders.pop(n))
        if not self._is_in_box:  # there the kernel has killed it
            posix.kill_children({*self._older, *(pid for _, pid in self._instances.values())})
        for at in range(0, len(ended), _MAX_ENDED):
            control.send(self._connection, {"t": "exited", "ended": ended[at : at + _MAX_ENDED]})


def _load_function(message: dict[str, Any]) -> "handler.Function":
    """Load the handler and the hooks. Raises handler.LoadError, also for an import that the standard library hides."""
    shared = names.own_names()
    if names.TESTS in shared:
        sys.meta_path.insert(0, names.OwnTests(message["code"]))
    hidden = shared - {names.TESTS}
    try:
        return handler.load(**message["function"])
    finally:
        where = names.hidden_import(hidden) if hidden else None
        if where is not None:
            advice = "the function's own module is hidden by that of the standard library: rename it"
            raise handler.LoadError("BuiltInModuleConflict", f"{where}: {advice}")


def _has_imports_to_come(rehearse: "dict[str, Any] | None") -> bool:
    """Whether there is something to import ahead: what the server names, or what the code has put off (PEP 810)."""
    return rehearse is not None and bool(rehearse["modules"] or getattr(sys, "lazy_modules", ()))


def _failed(error: "handler.LoadError") -> dict[str, Any]:
    """A `failed` message that fits into one packet. Of a long traceback the end is kept, which matters most."""
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


def _after_standard_library() -> int:
    """The index of the function's code in `sys.path`: after the standard library, before installed libraries."""
    for index, entry in enumerate(sys.path):
        if entry.endswith(("site-packages", "dist-packages")):
            return index
    return len(sys.path)
