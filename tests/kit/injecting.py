"""Errors thrown into real tasks: at their n-th await, whatever that waits for, as if it had raised.

Nothing of the code under test is replaced: a task factory wraps the coroutines, and throws where one suspends.
"""

import asyncio
import contextlib
import types
from collections.abc import Awaitable, Coroutine, Generator, Iterator
from typing import Any


class InjectedError(Exception):
    """No code expects it."""


class Injection:
    """Throws once, at the `at`-th await (from 0) of all tasks whose name contains one of `names`."""

    def __init__(self, at: int, *names: str) -> None:
        self._left = at
        self._names = names
        self.thrown_in = ""
        """The name of the task; empty: there were fewer awaits."""

    def is_due(self, task: "asyncio.Task[Any] | None") -> bool:
        """Whether this await is the one."""
        name = task.get_name() if task is not None else ""
        if self.thrown_in or not any(part in name for part in self._names):
            return False
        self._left -= 1
        if self._left < 0:
            self.thrown_in = name
        return bool(self.thrown_in)


class _Injected(Coroutine[Any, Any, Any]):
    def __init__(self, inner: Coroutine[Any, Any, Any], injection: Injection) -> None:
        self._inner = inner
        self._injection = injection

    def send(self, value: Any) -> Any:
        waited = self._inner.send(value)
        # None is a mere turn of the loop.
        if waited is None or _cannot_fail(self._inner) or not self._injection.is_due(asyncio.current_task()):
            return waited
        waited._asyncio_future_blocking = False  # nobody waits for it any more
        return self._inner.throw(InjectedError("injected"))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)  # anyio looks whether a task has begun

    def throw(self, *error: Any) -> Any:
        return self._inner.throw(*error)

    def close(self) -> None:
        self._inner.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return (yield from self._inner.__await__())


def _cannot_fail(work: Any) -> bool:
    """Whether it waits for a lock, or for the tasks of a group, whose errors are theirs: anyio counts on that."""
    while work is not None:
        code = getattr(work, "cr_code", None)
        if code is not None and code.co_name in ("acquire", "__aexit__") and "anyio" in code.co_filename:
            return True
        work = _awaited(work)
    return False


def _awaited(work: Any) -> Any:
    inner = getattr(work, "cr_await", None) or getattr(work, "ag_await", None)
    if isinstance(inner, types.CoroutineType | types.AsyncGeneratorType) or inner is None:
        return inner
    # A context manager written as a generator: what `anext` returns does not say which generator it advances.
    manager = getattr(work, "cr_frame", None)
    return getattr(manager.f_locals.get("self"), "gen", None) if manager is not None else None


@contextlib.contextmanager
def injecting(at: int, *names: str) -> Iterator[Injection]:
    """Of tasks that are begun inside the block."""
    injection = Injection(at, *names)
    loop = asyncio.get_running_loop()

    def make(loop: asyncio.AbstractEventLoop, work: Awaitable[Any], **more: Any) -> "asyncio.Task[Any]":
        injected: Any = _Injected(work, injection) if isinstance(work, Coroutine) else work
        return asyncio.Task(injected, loop=loop, **more)

    loop.set_task_factory(make)  # type: ignore[arg-type]
    try:
        yield injection
    finally:
        loop.set_task_factory(None)
