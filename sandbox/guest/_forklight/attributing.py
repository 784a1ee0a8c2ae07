"""Carries the current call into all that a handler starts, for its log lines, and measures the CPU time of each call.

Theory of operation. Each call's task runs in a context of its own that has `CALL` (PEP 567). The tasks, callbacks and
timers that it makes copy this context, and so does `asyncio.to_thread`. Other threads begin with an empty context,
so `attributing` has the functions that start a thread hand over `CALL`, and nothing else: a handler's own context
variables behave as everywhere. A forked child keeps the context of the code that forked.

The event loop runs every step of a task and every callback as a `Handle`, which knows its context. Its CPU time is
measured there: one place, whatever the handler makes of tasks. A step includes what the loop did to come to it, but not
the time that it slept. A callback belongs to the call in which it was registered, so what a shared connection receives
counts for the call that opened it. An event loop that is not asyncio's own has no such place; a call then counts what
the whole process has used meanwhile.

An instance that runs one call at a time uses none of this: whatever its process does belongs to the call.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from typing import Any

from . import current
from .current import CALL, Call

_run_handle = asyncio.Handle._run
_start_thread = threading.Thread.start
_submit_to_threads: "Callable[..., Future[Any]]" = ThreadPoolExecutor.submit
_submit_to_processes: "Callable[..., Future[Any]]" = ProcessPoolExecutor.submit


@contextlib.contextmanager
def attributing() -> "Iterator[None]":
    """Measure the CPU time of each call, and hand `CALL` over to threads and to the forked children of a pool."""
    asyncio.Handle._run = _measured  # type: ignore[method-assign]
    threading.Thread.start = _start  # type: ignore[method-assign]
    ThreadPoolExecutor.submit = _submit_work  # type: ignore[assignment, method-assign]
    ProcessPoolExecutor.submit = _submit_to_child  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        asyncio.Handle._run = _run_handle  # type: ignore[method-assign]
        threading.Thread.start = _start_thread  # type: ignore[method-assign]
        ThreadPoolExecutor.submit = _submit_to_threads  # type: ignore[method-assign]
        ProcessPoolExecutor.submit = _submit_to_processes  # type: ignore[method-assign]


def _measured(self: asyncio.Handle) -> None:
    """Replaces Handle._run. One look at the clock ends this step and begins the next, with the loop's work for it."""
    try:
        _run_handle(self)
    finally:
        now_ns = time.thread_time_ns()
        call = self._context.get(CALL)  # type: ignore[attr-defined]
        if call is not None:
            call.cpu_ns += now_ns - current.step_began_ns
        current.step_began_ns = now_ns


def _start(self: threading.Thread) -> None:
    """Replaces Thread.start."""
    call = CALL.get()
    if call is not None:
        self.run = partial(_in_thread, call, self.run)  # type: ignore[method-assign]
    _start_thread(self)


def _submit_work(self: ThreadPoolExecutor, fn: "Callable[..., Any]", /, *args: Any, **kwargs: Any) -> "Future[Any]":
    """Replaces ThreadPoolExecutor.submit, which `to_thread`, `run_in_executor` and `map` use."""
    call = CALL.get()
    if call is None:
        return _submit_to_threads(self, fn, *args, **kwargs)
    return _without_call(_submit_to_threads, self, _in_thread, call, fn, *args, **kwargs)


def _submit_to_child(
    self: ProcessPoolExecutor, fn: "Callable[..., Any]", /, *args: Any, **kwargs: Any
) -> "Future[Any]":
    """Replaces ProcessPoolExecutor.submit. Only forked children have the guest, and can be handed the call."""
    call = CALL.get()
    context: Any = self._mp_context
    if call is not None and context.get_start_method() == "fork":
        fn = partial(_in_child, call.i, fn)
    return _without_call(_submit_to_processes, self, fn, *args, **kwargs)


def _without_call(submit: "Callable[..., Future[Any]]", *args: Any, **kwargs: Any) -> "Future[Any]":
    """Submit work outside the call's context: a worker that this starts goes on to serve other calls."""
    token = CALL.set(None)
    try:
        return submit(*args, **kwargs)
    finally:
        CALL.reset(token)


def _in_thread(call: Call, fn: "Callable[..., Any]", /, *args: Any, **kwargs: Any) -> Any:
    token = CALL.set(call)
    began_ns = time.thread_time_ns()
    try:
        return fn(*args, **kwargs)
    finally:
        if call.threads_ns is None:
            call.threads_ns = []
        call.threads_ns.append(time.thread_time_ns() - began_ns)  # appending is atomic, adding up is not
        CALL.reset(token)


def _in_child(i: int, fn: "Callable[..., Any]", /, *args: Any, **kwargs: Any) -> Any:
    CALL.set(Call(i))
    return fn(*args, **kwargs)
