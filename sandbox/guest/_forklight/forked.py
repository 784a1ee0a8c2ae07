"""Children of a function's own `os.fork()`: they run the function's code, but never act as an instance or template.

A child that returns from a handler, a hook or an import, or raises there, would otherwise continue as a second instance
(or template) on the same sockets: it would answer its parent's call, and take the next one away from it.
"""

import os
import sys
from typing import NoReturn

from . import at_fork, logs
from .tracebacks import format_traceback


class Guard:
    """`with Guard():` around the function's code. A process that leaves the block but did not enter it ends there."""

    def __init__(self) -> None:
        self._generation = 0

    def __enter__(self) -> None:
        self._generation = generation

    def __exit__(self, kind: object, error: BaseException | None, _traceback: object) -> None:
        if generation != self._generation:
            end(error)


generation = 0
"""How many forks lie between this process and its instance. It costs nothing to read, unlike the pid."""


def _count_fork() -> None:
    global generation  # noqa: PLW0603
    generation += 1


at_fork.register(after_in_child=_count_fork)


def end(error: BaseException | None) -> NoReturn:
    """End this child as the interpreter ends a program: with a traceback if it raised, and flushed streams.

    `atexit` functions do not run, as in a child of `multiprocessing`: they belong to the process that registered them.
    """
    status = 0 if error is None else 1
    try:
        if isinstance(error, SystemExit):
            status = _exit_status(error.code)
        elif error is not None:
            sys.stderr.write(format_traceback(error))
        logs.flush()
    finally:
        os._exit(status)


def _exit_status(code: object) -> int:
    """As for `sys.exit`: None is 0, a number is itself, anything else is printed and is 1."""
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    sys.stderr.write(f"{code}\n")
    return 1
