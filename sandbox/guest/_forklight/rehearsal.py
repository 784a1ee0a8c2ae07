"""Imports in a template, before it forks, what the first call of an earlier fork has imported.

An import inside a function's body runs again in every fork. So the first call that succeeds tells which modules have
appeared since its fork (`appeared.py`), and the server has the next template import them.

A rehearsal must not make a function worse. An import that fails halfway may have left anything in the process, and one
that starts a thread or opens a descriptor forbids forking, or shares what each instance had for itself. Both are
reported as `spoilt`: the server ends such a template before it has forked, and loads another without these modules.

The function's own modules are rehearsed only in the scope `all`: their author may have deferred what they do at their
import (a connection, an id) to each instance on purpose. What they import from elsewhere is rehearsed all the same.
"""

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence

from . import forked, leftovers, logs, posix, threads, wire
from .appeared import ALL, is_plain
from .tracebacks import message_of

_MAX_REHEARSED_CHARS = 4 * 1024
"""With the bounds of `left_out`, it keeps the answer to `load` within one message."""


class Rehearsed:
    """What a rehearsal has done: the modules that it imported by name, in order, and why it left out others."""

    def __init__(self) -> None:
        self.modules: list[str] = []
        self.left_out: dict[str, str] = {}
        self.spoilt = ""
        """Why this process must not serve; empty if it may."""

    def leave_out(self, name: str, reason: str, *, spoilt: bool) -> None:
        """Note that a module must not be imported here."""
        if len(self.left_out) < wire.MAX_LEFT_OUT:
            self.left_out[name] = ascii(reason)[1:-1][: wire.MAX_REASON_CHARS]
            if spoilt and not self.spoilt:
                self.spoilt = self.left_out[name]


def rehearse(names: Sequence[str], refused: Sequence[str], code: str, scope: str) -> Rehearsed:
    """Import the modules in order, then those whose import the loaded code has put off (Python 3.15 and later).

    `refused`: modules that an earlier template had to leave out.
    """
    done, chars = Rehearsed(), 0
    with _without_output():
        before = _held()
        for name in _wanted(names, refused, code, scope):
            chars += len(name) + 4
            if chars > _MAX_REHEARSED_CHARS:
                break
            if name not in sys.modules:
                before = _import(name, before, done)
    return done


def _wanted(names: Sequence[str], refused: Sequence[str], code: str, scope: str) -> Iterator[str]:
    """The modules to import. One import may put off others: so this asks again after each."""
    yield from (name for name in names if scope == ALL or not _is_own(name, code))
    seen = {*refused}
    while put_off := sorted(name for name in _put_off() if name not in seen):
        seen.add(put_off[0])
        if is_plain(put_off[0]) and (scope == ALL or not _is_own(put_off[0], code)):
            yield put_off[0]


def _put_off() -> Sequence[str]:
    """The modules of `lazy import` statements that nothing has used yet (PEP 810)."""
    return tuple(getattr(sys, "lazy_modules", ()))


def _is_own(name: str, code: str) -> bool:
    """Whether the module would be the function's own: the standard library hides those of the same name."""
    top = name.partition(".")[0]
    place = os.path.join(code, top)
    return top not in sys.stdlib_module_names and (os.path.isdir(place) or os.path.exists(f"{place}.py"))


def _held() -> "tuple[int, dict[int, str]]":
    """What an import may not change: the threads and the descriptors of this process."""
    return posix.thread_count(), leftovers.open_now()


def _import(name: str, before: "tuple[int, dict[int, str]]", done: Rehearsed) -> "tuple[int, dict[int, str]]":
    """Import one module; returns what this process holds now."""
    count = len(sys.modules)
    try:
        with forked.Guard():
            __import__(name)
    except BaseException as error:  # a module may raise anything
        reason = f"{type(error).__name__}: {message_of(error)}"
        done.leave_out(name, reason, spoilt=len(sys.modules) != count)
        return _held()
    threads.count_when_settled(before[0])
    now = _held()
    if now[0] > before[0]:
        done.leave_out(name, "it starts a thread", spoilt=True)
    elif now[1] != before[1]:
        opened = ", ".join(link for fd, link in now[1].items() if before[1].get(fd) != link)
        done.leave_out(name, f"it opens {opened}" if opened else "it closes what was open", spoilt=True)
    else:
        done.modules.append(name)
    return now


@contextlib.contextmanager
def _without_output() -> Iterator[None]:
    """Drop what the imports print: it was logged when the call made them."""
    logs.flush()
    kept = [(target, os.dup(target)) for target in (1, 2)]
    nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    try:
        for target, _ in kept:
            os.dup2(nowhere, target)
        yield
        logs.flush()
    finally:
        os.close(nowhere)
        for target, fd in kept:
            os.dup2(fd, target)
            os.close(fd)
