"""One run of a function for one event, from the invoke frame to the reply, which is sent whatever the handler does."""

import builtins
import time
from collections.abc import Callable
from contextvars import copy_context
from functools import lru_cache
from types import CoroutineType
from typing import Any, NamedTuple

from . import forked, logs, wire
from .context import Context, Rejected, Retry
from .decoding import BodyTooLarge, Undecodable
from .encoding import Unencodable
from .events import make_event
from .handler import Function
from .outputs import Outputs, ResultTooLarge, check_size
from .results import encode_result
from .tracebacks import format_traceback, message_of, place_of

_OURS = (Undecodable, BodyTooLarge, Unencodable, ResultTooLarge, Retry, Rejected)
_new = tuple.__new__
_RESERVED_CODES = frozenset(("Timeout", "MemoryError", "Unroutable", *(kind.__name__ for kind in _OURS)))


class Reply(NamedTuple):
    """A frame to send: `ok` with the result and the outputs' bodies as `chunks`, or `fail` without any."""

    fields: str
    """of the header, as JSON without braces; `log` is missing, because lines may arrive until the frame is sent"""
    chunks: list[bytes]

    @property
    def is_ok(self) -> bool:
        """Whether the handler returned a result that can be sent."""
        return self.fields.startswith('"t":"ok"')

    def pack(self, log: int) -> list[bytes]:
        """The pieces of the frame. `log` is 1 if the log pipe holds lines of this call."""
        return wire.pack(f'{{{self.fields},"log":{log}}}', self.chunks)


def run(function: Function, head: dict[str, Any], body: bytes, expired: Callable[[], bool]) -> Reply:
    """Run a sync handler. `expired` is true once the deadline's signal has raised SystemExit in this thread.

    Each call has a copy of the context, as an asyncio task has, so no context variable reaches the next call.
    """
    invocation = _Invocation(function, head, expired)
    try:
        try:
            return invocation.success(copy_context().run(_result, function, invocation.arguments(body)))
        except BaseException as error:  # the process survives whatever a handler raises
            return invocation.failure(error)
    except SystemExit as error:  # the deadline came while the failure was being described
        return invocation.failure(error)


def _result(function: Function, arguments: tuple[Any, ...]) -> Any:
    value = function.call(*arguments)
    if type(value) is not CoroutineType:
        return value
    from . import coroutines  # a sync decorator around an async handler

    return coroutines.finish(value)


async def arun(
    function: Function,
    head: dict[str, Any],
    body: bytes,
    expired: Callable[[], bool],
    clock: Callable[[], int] | None = None,
) -> Reply:
    """Run an async handler. `expired` is true once the deadline has passed and this task was cancelled for it.

    `clock`: the CPU time that this call has used so far; None for that of the process, which runs no other call.
    """
    invocation = _Invocation(function, head, expired, clock)
    if expired():
        return invocation.never_begun()
    try:
        return invocation.success(await function.call(*invocation.arguments(body)))
    except BaseException as error:  # as above; the cancellation ends here, as a reply
        return invocation.failure(error)


class _Invocation:
    """The times and outputs of one run, and the two ways in which it can end."""

    __slots__ = (
        "_body",
        "_clock",
        "_expired",
        "_function",
        "_generation",
        "_head",
        "_outputs",
        "_started_cpu_ns",
        "_started_ns",
    )

    def __init__(
        self,
        function: Function,
        head: dict[str, Any],
        expired: Callable[[], bool],
        clock: Callable[[], int] | None = None,
    ) -> None:
        self._function = function
        self._clock = clock
        self._head = head
        self._expired = expired
        self._outputs: Outputs | None = None
        self._body = b""
        self._generation = forked.generation
        self._started_ns = time.monotonic_ns()
        self._started_cpu_ns = 0 if clock else time.process_time_ns()

    def arguments(self, body: bytes) -> tuple[Any, ...]:
        """The arguments of the handler. Raises Undecodable."""
        self._body = body
        event = make_event(self._head["event"], body)
        function = self._function
        if not function.takes_context:
            return (event,)
        self._outputs = outputs = Outputs(function.max_result)
        return event, Context(function.name, function.version, function.logger, self._head, outputs)

    def success(self, value: Any) -> Reply:
        """The reply to a handler that returned. Raises Unencodable or ResultTooLarge if its result cannot be sent."""
        if forked.generation != self._generation:
            forked.end(None)
        status, content_type, headers, content = encode_result(value)
        outputs = () if self._outputs is None else self._outputs.close()
        length = len(content)
        if outputs or length > self._function.max_result:
            check_size(length, sum(len(body) for _, body in outputs), self._function.max_result)
        logs.flush()
        if self._expired():
            return self._fail("Timeout", "")
        fields = f'{_ok(status, content_type)},"length":{length},{self._figures()}'
        if headers:
            fields += f',"headers":{wire.encode(headers)}'
        if not outputs:
            return _new(Reply, (fields, [content]))
        fields += f',"out":{wire.encode([output.listed() for output, _ in outputs])}'
        return Reply(fields, [content, *[body for _, body in outputs]])

    def failure(self, error: BaseException) -> Reply:
        """The reply if the handler raised, did not run, or returned a result that cannot be sent. Drops its outputs."""
        if forked.generation != self._generation:
            forked.end(error)
        if self._outputs is not None:
            self._outputs.close()
        logs.flush()
        error = _in_group_of_one(error)
        if isinstance(error, MemoryError):
            return self._fail("MemoryError", "the function ran out of memory", place_of(error))
        if isinstance(error, Retry):
            return self._fail("Retry", message_of(error), retry_after_s=error.retry_after_s)
        if isinstance(error, Rejected):
            return self._fail("Rejected", message_of(error))
        return self._fail(_code_of(error), self._explained(error), format_traceback(error))

    def never_begun(self) -> Reply:
        """The reply if the deadline passed before the handler began, because another call blocked the event loop."""
        return self._fail("Timeout", "", "(the handler had not begun: another call blocked the event loop)")

    def _explained(self, error: BaseException) -> str:
        """The message of the error and what may help."""
        from . import hints, undecoded

        message = message_of(error) + hints.hint_of(error)
        if isinstance(error, _OURS) or not isinstance(error, Exception):
            return message
        return message + undecoded.hint_of(error, message, self._function.name, self._head["event"], self._body)

    def _fail(self, code: str, message: str, traceback: str = "", retry_after_s: float | None = None) -> Reply:
        kind = "error"
        if self._expired():  # checked last, because the deadline may pass while the failure is described
            limit_s = (self._head["deadline_ns"] - self._started_ns) / 1e9
            kind, code, message = "timeout", "Timeout", f"the handler had no result after {_seconds(limit_s)}"
            retry_after_s = None
        failure = {
            "t": "fail",
            "kind": kind,
            "code": code,
            "message": message,
            "traceback": traceback,
            "retry_after_s": retry_after_s,
        }
        return Reply(f"{wire.encode(failure)[1:-1]},{self._figures()}", [])

    def _figures(self) -> str:
        """The fields that both replies have.

        CPU time is that of the process, threads included; where several calls run at once, that of the call's steps in
        the event loop and of the threads that it has started and that have ended (attributing.py).
        """
        process_ns = time.process_time_ns()
        cpu_ns = (self._clock() if self._clock else process_ns) - self._started_cpu_ns
        return (
            f'"i":{self._head["i"]},"started_ns":{self._started_ns},"finished_ns":{time.monotonic_ns()},'
            f'"cpu_ns":{cpu_ns},"peak_rss_kb":{self._function.peak.rss_kb(process_ns)}'
        )


@lru_cache(maxsize=64)
def _ok(status: int, content_type: str | None) -> str:
    """The fields of a reply that hardly differ from call to call: encoding them is most of the work on a header."""
    return f'"t":"ok","status":{status},"type":{wire.encode(content_type)}'


def _seconds(limit_s: float) -> str:
    return f"{limit_s:.0f} s" if limit_s >= 100 else f"{limit_s:.3g} s"  # `.3g` turns 1200 into 1.2e+03


def _code_of(error: BaseException) -> str:
    """The name of the type, with its module if it equals a code of ours, some of which forbid another attempt.

    It is escaped and cut, because a code is a metric label and a word in logs.
    """
    kind = type(error)
    name = kind.__name__
    if name in _RESERVED_CODES and not isinstance(error, _OURS):
        name = f"{kind.__module__}.{name}"
    if not name.isprintable():
        name = name.encode("unicode_escape").decode()
    return name[: wire.MAX_CODE_CHARS]


def _in_group_of_one(error: BaseException) -> BaseException:
    """Unwrap `retry` and `reject` from the exception groups of task groups; other exceptions stay as they are."""
    group = getattr(builtins, "BaseExceptionGroup", ())  # since Python 3.11
    inner: Any = error
    while isinstance(inner, group) and len(inner.exceptions) == 1:
        inner = inner.exceptions[0]
    return inner if isinstance(inner, (Retry, Rejected)) else error
