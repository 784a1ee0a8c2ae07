"""Results of invocations: from the outcome to a response, outputs, and what would follow. Pure.

Everything is made by those who make it in a server: the http trigger's codec, the bus's router, the settle tables.
"""

import json
from collections.abc import Iterable, Sequence
from http.cookies import SimpleCookie
from typing import Any, Literal, TypeVar, overload

from msgspec import Struct

from bus.event import Event
from bus.message import Outgoing
from bus.outcome import Failed, FailureKind, Ok, Outcome, Output
from bus.outputs import Known, UnroutableError, outgoing
from bus.retry import Ack, Dead, Decision, Release, Retry, RetryPolicy, decide
from sandbox.guest._forklight.decoding import decode_body
from triggers.http.codec import to_answer
from triggers.queue.settling import OneByOne, Tried, decide_batch

_T = TypeVar("_T")

Settled = Literal["ack", "retry", "release", "dead", "alone"]
"""What happens to a message. `release` returns it to its queue without counting an attempt; `alone` runs it again
without the others of its batch, one of which is bad."""


class Headers(dict[str, str]):
    """The headers of an answer, whose names are found in any case: `headers["Content-Type"]`.

    The keys are in small letters. The values of a repeated header are joined by commas; `get_all` has each.
    """

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self._each: dict[str, list[str]] = {}
        for name, value in pairs:
            self._each.setdefault(name.lower(), []).append(value)
        super().__init__({name: ", ".join(values) for name, values in self._each.items()})

    def __missing__(self, name: str) -> str:
        if name.lower() == name:
            raise KeyError(name)
        return self[name.lower()]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and super().__contains__(name.lower())

    @overload
    def get(self, name: str, default: None = None) -> str | None: ...
    @overload
    def get(self, name: str, default: _T) -> str | _T: ...
    def get(self, name: str, default: Any = None) -> Any:
        """Return the value, or `default` if there is no such header."""
        return super().get(name.lower(), default)

    def get_all(self, name: str) -> list[str]:
        """Return the value of each header with this name, in order."""
        return list(self._each.get(name.lower(), ()))


class Response(Struct, frozen=True, kw_only=True):
    """What an HTTP client gets. Names in `headers` are found in any case; `all_headers` is what is on the wire."""

    status: int
    body: bytes
    headers: Headers
    all_headers: tuple[tuple[str, str], ...]

    @property
    def content_type(self) -> str | None:
        return self.headers.get("content-type")

    @property
    def text(self) -> str:
        """The body, which must be UTF-8."""
        return self.body.decode()

    def json(self) -> Any:
        """Return the decoded body."""
        return json.loads(self.body)

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies that it sets, by name; of one that is set twice, the last value counts."""
        every = [SimpleCookie(header) for header in self.headers.get_all("set-cookie")]
        return {name: cookie.value for found in every for name, cookie in found.items()}


class Failure(Struct, frozen=True, kw_only=True):
    """Why there is no result. `kind` and `code` are stable and the same as in logs and metrics."""

    kind: FailureKind
    code: str
    message: str
    traceback: str = ""
    retry_after_s: float | None = None


class Sent(Struct, frozen=True, kw_only=True):
    """A message of `context.send`. `data` is what its receiver gets, `id` the handler's id or a generated one."""

    queue: str
    data: Any
    delay_s: float
    id: str
    headers: dict[str, str]
    correlation_id: str | None = None
    reply_to: str | None = None


class Spawned(Struct, frozen=True, kw_only=True):
    """An invocation of `context.spawn`, likewise."""

    function: str
    data: Any
    delay_s: float
    id: str


class Ended(Struct, frozen=True, kw_only=True):
    """How an invocation ended. `response` is what an HTTP client would get, also for a failure."""

    response: Response
    _failure: Failure | None

    @property
    def failed(self) -> bool:
        return self._failure is not None

    @property
    def failure(self) -> Failure:
        """Why it failed. Raises ValueError if it did not, so that a test need not check first."""
        if self._failure is None:
            raise ValueError(f"it did not fail, it answered {self.response.status}: {self.response.body!r:.200}")
        return self._failure


class Result(Ended, frozen=True, kw_only=True):
    """The result of `run`: also what it sent and spawned (nothing if it failed), and the lines of its log."""

    sent: tuple[Sent, ...]
    spawned: tuple[Spawned, ...]
    logs: tuple[str, ...]
    settled_each: dict[str, Settled]
    """What would happen to each message of a batch, by its id, or to the one message."""

    @property
    def settled(self) -> Settled:
        """What would happen to the message. Raises ValueError for a batch whose messages differ in that."""
        [first, *others] = set(self.settled_each.values())
        if others:
            raise ValueError("the messages of the batch are settled differently: look at settled_each")
        return first


def routed(outcome: Outcome, event: Event) -> tuple[Outcome, tuple[Outgoing, ...]]:
    """Return the outcome after the bus has checked the outputs, and the messages that they become.

    Which functions and brokers there are is the application's: any can be named here.
    """
    if isinstance(outcome, Failed):
        return outcome, ()
    names = {output.name for output in outcome.outputs}
    try:
        return outcome, outgoing(outcome, event, Known(functions=names, queues=names))
    except UnroutableError as error:
        return Failed(kind="error", code="Unroutable", message=str(error), start=outcome.start), ()


def result_of(event: Event, outcome: Outcome, logs: Sequence[str], policy: RetryPolicy) -> Result:
    """Return the result of `run`. `policy` is the queue's."""
    outcome, messages = routed(outcome, event)
    outputs = outcome.outputs if isinstance(outcome, Ok) else ()
    pairs = list(zip(outputs, messages, strict=True))
    ended = ended_of(outcome, event.id)
    return Result(
        response=ended.response,
        _failure=ended._failure,
        sent=tuple(_sent(output, message) for output, message in pairs if output.kind == "send"),
        spawned=tuple(_spawned(output, message) for output, message in pairs if output.kind == "spawn"),
        logs=tuple(logs),
        settled_each=_settled(event, outcome, policy),
    )


def ended_of(outcome: Outcome, invocation_id: str) -> Ended:
    """Return the result of an invocation on a running server."""
    answer = to_answer(outcome, invocation_id)
    response = response_of(answer.status, answer.headers + answer.own_headers, answer.body)
    if isinstance(outcome, Ok):
        return Ended(response=response, _failure=None)
    failure = Failure(
        kind=outcome.kind,
        code=outcome.code,
        message=outcome.message,
        traceback=outcome.traceback,
        retry_after_s=outcome.retry_after_s,
    )
    return Ended(response=response, _failure=failure)


def response_of(status: int, headers: tuple[tuple[str, str], ...], body: bytes) -> Response:
    """Return a response from what is on the wire."""
    return Response(status=status, body=body, headers=Headers(headers), all_headers=headers)


def _sent(output: Output, outgoing: Outgoing) -> Sent:
    return Sent(
        queue=output.name,
        data=decode_body(output.body, output.content_type, None),
        delay_s=output.delay_s,
        id=outgoing.message.id or "",
        headers=output.headers,
        correlation_id=output.correlation_id,
        reply_to=output.reply_to,
    )


def _spawned(output: Output, outgoing: Outgoing) -> Spawned:
    return Spawned(
        function=output.name,
        data=decode_body(output.body, output.content_type, None),
        delay_s=output.delay_s,
        id=outgoing.message.id or "",
    )


def _settled(event: Event, outcome: Outcome, policy: RetryPolicy) -> dict[str, Settled]:
    """Return what the queue trigger decides for messages that have just been sent."""
    if event.items is None:
        return {event.id: _word(decide(outcome, event.attempt, 0.0, policy, 0.0))}
    tried = [Tried(item.id, item.attempt, 0.0, 0.0) for item in event.items]
    decisions = decide_batch(outcome, tried, policy)
    if isinstance(decisions, OneByOne):
        return dict.fromkeys((one.id for one in tried), "alone")
    return {one.id: _word(decision) for one, decision in zip(tried, decisions, strict=True)}


def _word(decision: Decision) -> Settled:
    match decision:
        case Ack():
            return "ack"
        case Retry():
            return "retry"
        case Release():
            return "release"
        case Dead():
            return "dead"
