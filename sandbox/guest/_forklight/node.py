"""Node.js: an instance becomes the program, which is told in one argument, as JSON, which descriptor is what.

It speaks the frames of ARCHITECTURE §8, and its first one is `ready` or `unfit`.
"""

import fcntl
import json
import os
import resource
import signal
from collections.abc import Callable
from typing import Any, NoReturn

from . import posix, program, snapshot, wire
from .code_cache import CodeCache

_DATA, _MEMORY, _LIFELINE, _SHARED = 3, 4, 5, 6
"""The descriptors of the program beside the standard ones. The last one is the startup snapshot or the code cache."""
_ABOVE = 64
"""From where on copies of descriptors cannot collide with those."""
_GUESTS = os.path.dirname(os.path.dirname(__file__))
_NOWHERE = "192.0.2.1:9229"
"""An address that no machine has (RFC 5737). SIGUSR1 makes Node.js listen for a debugger, to which every process of the
machine could connect; any process of the same user may send that signal, and no version before 22.14 can refuse it."""
_CRASHES = {-signal.SIGTRAP, -signal.SIGSEGV, -signal.SIGILL, -signal.SIGBUS}
"""Not SIGABRT, by which V8 ends a process whose heap is full."""
_START = os.path.join(_GUESTS, "node", "start.js")
_SNAPSHOT = os.path.join(_GUESTS, "node", "snapshot.js")
_BLOB = ("--snapshot-blob", f"/proc/self/fd/{_SHARED}")


class Prepared(program.Program):
    """What each instance starts with."""

    def __init__(
        self, message: "dict[str, Any]", memory: int, files: "tuple[int, int]", data: "tuple[int, int]"
    ) -> None:
        super().__init__(message, memory, files, data)
        self._command: list[str] = message["program"]["command"]
        self._memory_mib = message["limits"]["memory_bytes"] >> 20
        self._env: dict[str, str] = message["env"]
        function = message["function"]
        self._told = {
            "function": function["name"],
            "version": function["version"],
            "handler": function["handler"],
            "code": message["code"],
            "max_result": function["max_result"],
            "concurrency": function["concurrency"],
            "log_level": message["log_level"],
            "terminal": self.has_terminal,
            "data": _DATA,
            "memory": _MEMORY,
        }
        self._cache = CodeCache()
        self._way: tuple[str, int] | None = None
        self._wants_snapshot = bool(message["program"]["snapshot"])
        self._release = message["program"]["release"]
        self._most_bytes: int = message["limits"]["template_memory_bytes"]
        self._snapshot: snapshot.Snapshot | None = None

    def load(self, fork: "Callable[[], int]") -> None:
        """Build the startup snapshot, if the runtime has one. Blocks. Raises LoadError."""
        if self._wants_snapshot:
            self._snapshot = snapshot.build(fork, self._build, self._most_bytes)

    def before_fork(self) -> None:
        """Choose what the next instance shares with the others."""
        if self._snapshot is None:
            self._way = self._cache.next()

    def on_end(self, exit_code: int) -> None:
        """After a crash, compile anew: V8 trusts the data that it takes, so it may have been because of them."""
        if exit_code in _CRASHES:
            self._cache.forget()

    def execute(self, request: "dict[str, Any]", data: int, log: int, lifeline: int) -> NoReturn:
        """Become the program. If it cannot be executed, say so to the server and end."""
        told = self._told | {name: request[name] for name in ("calls", "warm") if name in request}
        options: list[str] = ["--trace-sigint"]
        arguments = [_START, json.dumps(told)]
        kept = [(data, _DATA), (self.memory, _MEMORY), (lifeline, _LIFELINE)]
        if self._snapshot is not None:
            options += _BLOB
            kept.append((self._snapshot.file, _SHARED))
        elif self._way is not None:
            way, file = self._way
            arguments.append(way)
            kept.append((file, _SHARED))
        self._become(options, arguments, self._env | request["env"], kept)

    def _build(self, data: int, blob: int) -> NoReturn:
        """In a fork of the template: become what builds the snapshot."""
        posix.drop_capabilities()
        resource.setrlimit(resource.RLIMIT_NOFILE, self.files)
        resource.setrlimit(resource.RLIMIT_DATA, self.data)
        # Node.js cannot keep what it needs to print a stack at SIGINT, and warns of each of its modules that is used.
        options = ["--no-warnings", *_commonjs(self._release), *_BLOB, "--build-snapshot"]
        kept = [(data, _DATA), (self.memory, _MEMORY), (blob, _SHARED)]
        self._become(options, [_SNAPSHOT, json.dumps(self._told)], self._env, kept)

    def _become(
        self, options: "list[str]", arguments: "list[str]", env: "dict[str, str]", kept: "list[tuple[int, int]]"
    ) -> NoReturn:
        argv = [*self._command, *_options(env, self._memory_mib), *options, *arguments]
        _keep(kept)
        signal.signal(wire.STACK_SIGNAL, signal.SIG_IGN)  # the default action would end a program that knows it not
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        try:
            os.execve(argv[0], argv, env)  # noqa: S606
        except OSError as error:
            message = f"cannot execute {argv[0]}: {error.strerror}"
            unfit = {"t": "unfit", "code": "InitFailed", "message": message, "traceback": ""}
            wire.write(_DATA, wire.pack(wire.encode(unfit), []))
        os._exit(1)


def _keep(wanted: "list[tuple[int, int]]") -> None:
    """Leave the program these descriptors under the numbers that it expects, and the standard ones, but no others."""
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD, _ABOVE) for fd, _ in wanted]
    for fd, (_, number) in zip(high, wanted, strict=True):
        os.dup2(fd, number)
    posix.close_all_but({0, 1, 2, *(number for _, number in wanted)})


def _commonjs(release: str) -> "list[str]":
    """What makes `require` take a package's CommonJS, where Node.js prefers its ES modules (`module-sync`)."""
    major, minor = (int(part) for part in release.split(".")[:2])
    return ["--no-experimental-require-module"] if major >= 22 or (major == 20 and minor >= 17) else []


def _options(env: "dict[str, str]", memory_mib: int) -> "list[str]":
    """V8 collects garbage before its heap has all the memory that the function may have, and SIGUSR1 opens no inspector
    to others, unless the author decides."""
    chosen = env.get("NODE_OPTIONS", "").replace("_", "-")
    options = [] if "--inspect" in chosen else [f"--inspect-port={_NOWHERE}"]
    if "--max-old-space-size" not in chosen:
        options.append(f"--max-old-space-size={max(16, memory_mib * 3 // 4)}")
    return options
