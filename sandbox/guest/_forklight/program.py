"""Instances that are another program: a template holds what they start with, and its forks execute the program.

Everything that contains a function survives execve(2): user and namespaces, rights given up for good, limits, the
process group of the lifeline, and open descriptors. The program is told in one argument, as JSON, which descriptor is
what; it speaks the frames of ARCHITECTURE §8, and its first one is `ready` or `unfit`.
"""

import fcntl
import json
import os
import signal
from typing import Any, NoReturn

from . import posix, wire

_DATA, _MEMORY, _LIFELINE = 3, 4, 5
"""The descriptors of the program beside the standard ones."""
_ABOVE = 64
"""From where on copies of descriptors cannot collide with those."""
_GUESTS = os.path.dirname(os.path.dirname(__file__))
_NOWHERE = "192.0.2.1:9229"
"""An address that no machine has (RFC 5737). SIGUSR1 makes Node.js listen for a debugger, to which every process of the
machine could connect; any process of the same user may send that signal, and no version before 22.14 can refuse it."""
_NODE = os.path.join(_GUESTS, "node", "guest.js")


class Program:
    """What each instance starts with, as `instance.Prepared` for functions that templates import."""

    anew: "dict[int, int]" = {}
    reseeds: "list[Any]" = []
    is_async = True
    """Whether an instance may go on after a call whose deadline has passed."""

    def __init__(
        self, message: "dict[str, Any]", memory: int, files: "tuple[int, int]", data: "tuple[int, int]"
    ) -> None:
        """`message`: the `load` message. `memory`: the number of the descriptor that faulthandler writes to."""
        self.memory = memory
        self.files = files
        self.data = data
        self.has_terminal = posix.is_terminal(0)

    def execute(self, request: "dict[str, Any]", data: int, log: int, lifeline: int) -> NoReturn:
        """Go on as the program, with these descriptors. Never returns."""
        raise NotImplementedError


class Prepared(Program):
    """Node.js: the process itself becomes the program."""

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

    def execute(self, request: "dict[str, Any]", data: int, log: int, lifeline: int) -> NoReturn:
        """Become the program. If it cannot be executed, say so to the server and end."""
        told = self._told | {name: request[name] for name in ("calls", "warm") if name in request}
        env = self._env | request["env"]
        argv = [*self._command, *_options(env, self._memory_mib), "--trace-sigint", _NODE, json.dumps(told)]
        _keep(((data, _DATA), (self.memory, _MEMORY), (lifeline, _LIFELINE)))
        signal.signal(wire.STACK_SIGNAL, signal.SIG_IGN)  # the default action would end a program that knows it not
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        try:
            os.execve(argv[0], argv, env)  # noqa: S606
        except OSError as error:
            message = f"cannot execute {argv[0]}: {error.strerror}"
            unfit = {"t": "unfit", "code": "InitFailed", "message": message, "traceback": ""}
            wire.write(_DATA, wire.pack(wire.encode(unfit), []))
        os._exit(1)


def _keep(wanted: "tuple[tuple[int, int], ...]") -> None:
    """Leave the program these descriptors under the numbers that it expects, and the standard ones, but no others."""
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD, _ABOVE) for fd, _ in wanted]
    for fd, (_, number) in zip(high, wanted, strict=True):
        os.dup2(fd, number)
    posix.close_all_but({0, 1, 2, *(number for _, number in wanted)})


def _options(env: "dict[str, str]", memory_mib: int) -> "list[str]":
    """V8 collects garbage before its heap has all the memory that the function may have, and SIGUSR1 opens no inspector
    to others, unless the author decides."""
    chosen = env.get("NODE_OPTIONS", "").replace("_", "-")
    options = [] if "--inspect" in chosen else [f"--inspect-port={_NOWHERE}"]
    if "--max-old-space-size" not in chosen:
        options.append(f"--max-old-space-size={max(16, memory_mib * 3 // 4)}")
    return options
