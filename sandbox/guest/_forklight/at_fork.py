"""What runs around every fork for `threading`, `logging` and the guest, and a fork of an instance that leaves it out.

These functions repair what a fork in a process with several threads breaks: locks that another thread held, threads
that no longer exist. A template has one thread and forks between two messages, so there is nothing to repair, but the
repair writes to a hundred pages, each of which the child has to copy. Every other fork runs them as usual.

Import this module before `threading` and `logging`: otherwise they register with Python, and each fork runs them.
"""

import os
from collections.abc import Callable

_fork = os.fork
"""The original, which `orphans.py` replaces for the function's code."""
_Function = Callable[[], object]
_before: list[_Function] = []
_in_parent: list[_Function] = []
_in_child: list[_Function] = []
_is_bare = False


def register(
    *,
    before: "_Function | None" = None,
    after_in_parent: "_Function | None" = None,
    after_in_child: "_Function | None" = None,
) -> None:
    """Like os.register_at_fork, for functions that an instance's own birth can leave out."""
    if before is not None:
        _before.insert(0, before)
    if after_in_parent is not None:
        _in_parent.append(after_in_parent)
    if after_in_child is not None:
        _in_child.append(after_in_child)


def fork_bare() -> int:
    """Fork without these functions. Requires that this process has one thread, which holds no lock."""
    global _is_bare  # noqa: PLW0603
    _is_bare = True
    pid = -1
    try:
        pid = _fork()
    finally:
        _is_bare = False
    return pid


def _run(functions: list[_Function]) -> None:
    for function in functions:
        function()


def _run_before() -> None:
    if not _is_bare:
        _run(_before)


def _run_in_parent() -> None:
    if not _is_bare:
        _run(_in_parent)


def _run_in_child() -> None:
    if not _is_bare:
        _run(_in_child)


os.register_at_fork(before=_run_before, after_in_parent=_run_in_parent, after_in_child=_run_in_child)
_original, os.register_at_fork = os.register_at_fork, register
try:
    for _name in ("threading", "logging"):
        __import__(_name)
finally:
    os.register_at_fork = _original
