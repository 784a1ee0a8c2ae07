"""Runs a handler in this process with the guest's own code, which runs it in an instance.

Theory of operation. The event is made into a frame and read as an instance reads it; the guest calls the handler and
makes the frame of its reply; that goes through the state machine of a call and becomes an outcome, as in a server.
What is missing is the process: a handler that ends it ends the test, and what it leaves in its modules stays. Nothing
interrupts a sync handler at its deadline: one that returns too late has timed out all the same. An async one is
cancelled at the deadline, as in an instance. `environment.py` gives it the variables of its function meanwhile.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from bus.event import Event
from bus.outcome import Outcome, StartKind
from bus.retry import RetryPolicy
from forklight.config.environment import DATA
from forklight.testing.data import offer_data_folder
from forklight.testing.environment import environment
from forklight.testing.frames import event_of, frame
from forklight.testing.output import gathered
from forklight.testing.results import Result, result_of
from sandbox import outcomes
from sandbox.actions import End
from sandbox.calls import Calls
from sandbox.frames import FailFrame
from sandbox.guest._forklight import invocation
from sandbox.guest._forklight.handler import Function, load, made
from sandbox.spec import Limits
from sandbox.wire import Frames

Handler = Callable[..., Any] | str
"""A callable, or `module:attribute` as in the configuration."""

_VERSION = "test"
_TIMEOUT_S = 60.0
_MAX_RESULT_BYTES = Limits().max_result_bytes
_NO_GRACE_NS = 0
"""The call is over when the state machine hears of it."""


def run(
    handler: Handler,
    event: Mapping[str, object],
    *,
    function: str | None = None,
    attempt: int | None = None,
    timeout_s: float = _TIMEOUT_S,
    start_kind: StartKind = "warm",
    attempts: int = RetryPolicy().attempts,
    max_result_bytes: int = _MAX_RESULT_BYTES,
    env: Mapping[str, str] | None = None,
    data: str | Path | None = None,
) -> Result:
    """Run a sync or async handler for one event and return how it ended, whatever happens.

    `event` is built by `http`, `queue`, … or written by hand: `{"data": {"numbers": [1, 2]}}`. `function` is its name
    in `context` and log, else that of the handler's module; `attempt` counts instead of the event's own; `attempts` is
    the queue's, for `settled`. The handler of a function in `forklight.toml` is imported and run with the environment
    of that function (see `environment.py`), which `env` adds to. `data` is the folder in `$FORKLIGHT_DATA`, if it is
    not that of the test. Raises ValueError for an event that is none, LoadError for a handler that no server would
    take, ConfigError for an environment that no server would take, RuntimeError for an async handler inside an event
    loop: there, `await arun(…)`.
    """
    with environment(handler, function, _variables(env, data), _VERSION) as concurrency:
        loaded = _load(handler, function, max_result_bytes, concurrency)
        call = _Call(loaded, _event(event, loaded.name, attempt), timeout_s, start_kind)
        if loaded.is_async:
            _refuse_loop()
        with gathered() as lines:
            outcome = asyncio.run(call.arun()) if loaded.is_async else call.run()
    return result_of(call.event, outcome, lines, RetryPolicy(attempts=attempts))


async def arun(
    handler: Handler,
    event: Mapping[str, object],
    *,
    function: str | None = None,
    attempt: int | None = None,
    timeout_s: float = _TIMEOUT_S,
    start_kind: StartKind = "warm",
    attempts: int = RetryPolicy().attempts,
    max_result_bytes: int = _MAX_RESULT_BYTES,
    env: Mapping[str, str] | None = None,
    data: str | Path | None = None,
) -> Result:
    """`run` inside an event loop of asyncio, for tests that are `async def`. A sync handler blocks it."""
    with environment(handler, function, _variables(env, data), _VERSION) as concurrency:
        loaded = _load(handler, function, max_result_bytes, concurrency)
        call = _Call(loaded, _event(event, loaded.name, attempt), timeout_s, start_kind)
        with gathered() as lines:
            outcome = await call.arun() if loaded.is_async else call.run()
    return result_of(call.event, outcome, lines, RetryPolicy(attempts=attempts))


class _Call:
    """One call, from the frame that starts it to the outcome of the frame that answers."""

    def __init__(self, function: Function, event: Event, timeout_s: float, start: StartKind) -> None:
        self.event = event
        self._function = function
        self._start = start
        self._begun_ns = time.monotonic_ns()
        self._deadline_ns = self._begun_ns + round(timeout_s * 1e9)
        self._cancelled = False
        self._calls = Calls(slots=1, grace_ns=_NO_GRACE_NS, asynchronous=function.is_async)
        self._calls.begin(1, self._deadline_ns)
        self._asked = frame(event, deadline_ns=self._deadline_ns, attempt=event.attempt, start=start)

    def run(self) -> Outcome:
        """Return the outcome of a sync handler."""
        return self._outcome(invocation.run(self._function, *self._asked, self._is_overdue))

    async def arun(self) -> Outcome:
        """Return the outcome of an async handler, run in the current task."""
        task = asyncio.current_task()
        assert task is not None
        left_s = (self._deadline_ns - time.monotonic_ns()) / 1e9
        alarm = asyncio.get_running_loop().call_later(left_s, self._cancel, task)
        reply = await invocation.arun(self._function, *self._asked, lambda: self._cancelled)
        alarm.cancel()
        if self._cancelled:
            task.uncancel()
        if task.cancelling():  # the test itself is to end, and the guest has made a reply of that
            raise asyncio.CancelledError
        return self._outcome(reply)

    def _cancel(self, task: "asyncio.Task[Any]") -> None:
        self._cancelled = True
        task.cancel()

    def _is_overdue(self) -> bool:
        return time.monotonic_ns() >= self._deadline_ns

    def _outcome(self, reply: invocation.Reply) -> Outcome:
        [(answer, body)] = Frames(self._function.max_result).feed(b"".join(reply.pack(log=0)))
        now_ns = time.monotonic_ns()
        if isinstance(answer, FailFrame):
            if answer.code == "KeyboardInterrupt":  # meant for the test runner
                raise KeyboardInterrupt
            if answer.kind == "timeout":
                self._calls.tick(max(now_ns, self._deadline_ns))
        [end] = [action for action in self._calls.frame(answer, body, now_ns) if isinstance(action, End)]
        run = outcomes.Run(
            accepted_ns=self._begun_ns,
            written_ns=self._begun_ns,
            start=self._start,
            instance="",
            version=_VERSION,
            attempt=self.event.attempt,
        )
        return outcomes.of(end.ending, end.traceback, run, now_ns)


def _variables(env: Mapping[str, str] | None, data: str | Path | None) -> dict[str, str]:
    """Return the variables that this run adds to those of its function."""
    if data is None:
        offer_data_folder()
        return dict(env or {})
    return {DATA: str(Path(data).absolute()), **(env or {})}


def _event(given: Mapping[str, object], function: str, attempt: int | None) -> Event:
    event = replace(event_of(given), function=function)
    if attempt is None:
        return event
    queue = None if event.queue is None else replace(event.queue, attempt=attempt)
    return replace(event, queue=queue, attempt=attempt)


def _load(handler: Handler, name: str | None, max_result_bytes: int, concurrency: int) -> Function:
    """Load the function as a template does. Raises LoadError."""
    limits = {"max_result": max_result_bytes, "concurrency": concurrency}
    if isinstance(handler, str):
        name = name or handler.partition(":")[0].rpartition(".")[2]
        return load(name=name, version=_VERSION, handler=handler, runtime="tests", hooks={}, **limits)
    name = name or str(getattr(handler, "__module__", None) or "function").rpartition(".")[2]
    return made(handler, f"the handler {handler!r}", name=name, version=_VERSION, **limits)


def _refuse_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError("an async handler cannot be run inside a running event loop: write `await arun(…)`")
