"""Types for the authors of handlers: what mypy and editors are told of `event` and `context`. Nothing of it runs.

    from typing import TYPE_CHECKING

    if TYPE_CHECKING:
        from forklight.types import Context, HttpEvent

    def handler(event: "HttpEvent", context: "Context") -> object: ...

The import belongs below TYPE_CHECKING, so that a handler needs nothing of ours where it runs. docs/handler.md tells
what the keys mean.
"""

from datetime import timedelta
from logging import Logger
from typing import Any, NoReturn, NotRequired, Protocol, TypedDict

Delay = float | timedelta
"""Seconds, or a timedelta."""


class Http(TypedDict):
    """`event["http"]`. Names of headers are in small letters; `params` are typed as the route says.

    `key` is the name of the caller's key, None on a route without `auth`; `scopes` are those of the key.
    """

    method: str
    path: str
    route: str
    params: dict[str, Any]
    query: dict[str, str]
    query_all: dict[str, list[str]]
    headers: dict[str, str]
    cookies: dict[str, str]
    host: str
    scheme: str
    remote: str
    key: str | None
    scopes: list[str]


class Queue(TypedDict):
    """`event["queue"]`: the message's envelope; `attempt` counts from 1."""

    name: str
    broker: str
    message_id: str | None
    attempt: int
    redelivered: bool
    headers: dict[str, Any]
    correlation_id: str | None
    reply_to: str | None
    exchange: str
    routing_key: str
    content_encoding: str | None
    type: str | None
    app_id: str | None
    user_id: str | None
    priority: int | None
    timestamp: str | None
    expiration: str | None


class Timer(TypedDict):
    """`event["timer"]`; `scheduled_at` is RFC 3339."""

    name: str
    schedule: str
    timezone: str
    scheduled_at: str
    past_due: bool
    missed: int


class Call(TypedDict):
    """`event["call"]`: the function that spawned it, or `cli`."""

    caller: str


class File(TypedDict):
    """A part of a form that is a file; `filename` is None if it is one by its type alone."""

    name: str
    filename: str | None
    content_type: str | None
    body: bytes


class Form(TypedDict):
    """`event["data"]` of multipart/form-data. A field that comes several times is a list."""

    fields: dict[str, str | list[str]]
    files: list[File]


class _Attributes(TypedDict):
    specversion: str
    id: str
    source: str
    type: str
    time: str
    subject: str | None
    datacontenttype: str | None
    body: bytes


class Event(_Attributes):
    """Any event: of a handler with several triggers. It has exactly one of the sections."""

    data: Any
    http: NotRequired[Http]
    queue: NotRequired[Queue]
    timer: NotRequired[Timer]
    call: NotRequired[Call]


class HttpEvent(_Attributes):
    """A request."""

    data: Any
    http: Http


class QueueEvent(_Attributes):
    """A message."""

    data: Any
    queue: Queue


class BatchEvent(_Attributes):
    """The messages of a queue with `batch`."""

    data: list[QueueEvent]
    queue: Queue


class TimerEvent(_Attributes):
    """One scheduled time."""

    data: None
    timer: Timer


class CallEvent(_Attributes):
    """A direct invocation, or one that another function spawned."""

    data: Any
    call: Call


class Context(Protocol):
    """The second argument. What it sends and spawns is stored with the invocation's success, or not at all.

    `deadline` is in seconds since the epoch; `attempt` counts from 1; `invocation_id` is the event's id;
    `start_kind` is `warm`, `fork`, `load` or `boot`; `traceparent` is for requests to others (W3C Trace Context).
    """

    @property
    def invocation_id(self) -> str: ...
    @property
    def traceparent(self) -> str: ...
    @property
    def function(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def attempt(self) -> int: ...
    @property
    def deadline(self) -> float: ...
    @property
    def start_kind(self) -> str: ...
    @property
    def log(self) -> Logger: ...

    def remaining_ms(self) -> int:
        """Milliseconds until the deadline; 0 once it has passed."""

    def send(
        self,
        queue: str,
        data: object,
        *,
        delay: Delay | None = None,
        id: str | None = None,  # noqa: A002
        headers: dict[str, str] | None = None,
        correlation_id: str | None = None,
        reply_to: str | None = None,
    ) -> None:
        """A message to a queue; `"orders@shop"` is a queue of `[brokers.shop]`."""

    def spawn(
        self,
        function: str,
        data: object,
        *,
        delay: Delay | None = None,
        id: str | None = None,  # noqa: A002
    ) -> None:
        """An asynchronous invocation of another function."""

    def retry(self, after: Delay | None = None) -> NoReturn:
        """Raises: ends this attempt and asks for another, `after` seconds (or a timedelta) from now if given."""

    def reject(self, reason: str) -> NoReturn:
        """Raises: this event will never succeed; no other attempt is made."""
