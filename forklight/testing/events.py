"""Events as handlers get them, from the triggers' own codecs: a request, a message, a batch, a timer's run, a call."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypedDict, Unpack, cast
from urllib.parse import quote, urlencode
from uuid import uuid4

import msgspec
from msgspec.structs import replace

from bus.event import CallSection, Event
from bus.message import Delivery, Envelope, event_message
from forklight.config.units import parse_duration
from forklight.serving.invoking import cli_event
from forklight.testing import bodies
from forklight.testing.bodies import NOTHING, Files
from forklight.testing.frames import Decode, event_of, seen
from forklight.types import BatchEvent, CallEvent, HttpEvent, QueueEvent, TimerEvent
from triggers.http import HttpTriggerError, Route, RouteTable
from triggers.http.codec import to_event as http_event
from triggers.http.errors import RefusedError
from triggers.http.head import Head, parse_head
from triggers.http.policy.keys import Holder
from triggers.http.routes import Match, decode_segments
from triggers.http.stamps import Stamps
from triggers.http.templates import PARAMETER, check_methods
from triggers.queue import QueueTrigger
from triggers.queue import codec as queue_codec
from triggers.queue.errors import UnreadableError
from triggers.timer import Timer, next_after, parse_schedule
from triggers.timer.events import to_event as timer_event
from triggers.timer.planner import Run

_IN_PATHS = "/%:@!$&'()*+,;=-._~"
"""Characters that a path may contain (RFC 3986 §3.3), and the percent sign of what is already encoded."""
_WITH_BODIES = ("POST", "PUT", "PATCH")
_stamps = Stamps()


def http(
    method: str,
    path: str,
    *,
    json: object = NOTHING,
    data: bytes | None = None,
    text: str | None = None,
    form: Mapping[str, object] | None = None,
    files: Files | None = None,
    query: Mapping[str, object] | None = None,
    headers: Mapping[str, str] | None = None,
    cookies: Mapping[str, str] | None = None,
    params: Mapping[str, object] | None = None,
    route: str | None = None,
    decode: Decode | None = None,
    remote: str = "127.0.0.1",
    key: str | None = None,
    scopes: Sequence[str] = (),
) -> HttpEvent:
    """Return the event of a request, as the http trigger makes it. Its Host is `localhost` unless given.

    `route` is the function's `path` in the configuration: `http("GET", "/users/7", route="/users/{id:int}")` has the
    parameter 7. The same without repetition: `http("GET", "/users/{id:int}", params={"id": 7})`. Without a route,
    `params` are given to the handler as they are. Values of `query` may be lists. With `files`, the form is
    multipart/form-data; see `bodies.Files`. `decode` is the route's. `key` is the name of the caller's key, for a route
    with `auth`, and `scopes` are those of the key. Raises ValueError for what a server would have refused.
    """
    if scopes and key is None:
        raise ValueError("scopes are those of a key: give the key's name too")
    body, content_type = bodies.encode(json=json, data=data, text=text, form=form, files=files)
    if params is not None and route is None and "{" in path:
        route, path, params = path, _filled(path, params), None
    sent = _headers(method, body, content_type, headers=headers or {}, cookies=cookies or {})
    try:
        head = parse_head(method, _target(path, query), (1, 1), sent.items())
        event = http_event(
            head,
            _match(head, route, params, decode),
            body,
            remote=remote,
            invocation_id=_stamps.invocation_id(),
            time=_stamps.time(),
            holder=None if key is None else Holder(key, tuple(scopes)),
        )
    except (RefusedError, HttpTriggerError) as error:
        raise ValueError(f"a server refuses this request: {error}") from None
    return cast("HttpEvent", seen(event))


class Said(TypedDict, total=False):
    """Other properties that a publisher on a broker may set; they are in `event["queue"]`."""

    content_encoding: str
    type: str
    app_id: str
    user_id: str
    priority: int
    timestamp: datetime
    expiration: str


def queue(
    name: str,
    *,
    json: object = NOTHING,
    data: bytes | None = None,
    text: str | None = None,
    content_type: str | None = None,
    attempt: int = 1,
    headers: Mapping[str, Any] | None = None,
    message_id: str | None = None,
    correlation_id: str | None = None,
    reply_to: str | None = None,
    redelivered: bool = False,
    broker: str = "",
    decode: Decode | None = None,
    **said: Unpack[Said],
) -> QueueEvent:
    """Return the event of a message, as `forklight send` stores it and the queue trigger reads it.

    `said` is what only a broker says of a message; see `Said`.
    """
    body, given_type = bodies.encode(json=json, data=data, text=text)
    sent = Event(
        id=message_id or str(uuid4()),
        source="/forklight/cli",
        type=queue_codec.TYPE,
        datacontenttype=content_type or given_type,
        body=body,
    )
    message = event_message(sent)
    message = replace(
        message,
        headers=message.headers | dict(headers or {}),
        correlation_id=correlation_id,
        reply_to=reply_to,
    )
    delivery = Delivery(
        queue=name, message=message, lease=None, attempt=attempt, redelivered=redelivered, envelope=_envelope(said)
    )
    try:
        event = queue_codec.to_event(delivery, _queue_trigger(name, broker, decode))
    except UnreadableError as error:
        raise ValueError(f"no handler gets this message: {error}") from None
    return cast("QueueEvent", seen(event))


def _envelope(said: Said) -> Envelope:
    sent, rest = said.get("timestamp"), {name: value for name, value in said.items() if name != "timestamp"}
    return msgspec.convert(rest | {"timestamp_s": None if sent is None else sent.timestamp()}, Envelope)


def batch(events: Sequence[QueueEvent]) -> BatchEvent:
    """Return one event of several messages of one queue, as a queue with `batch` makes it of results of `queue`."""
    items = [event_of(event) for event in events]
    sections = [item.queue for item in items if item.queue is not None]
    if not items or len(sections) != len(items):
        raise ValueError("a batch is made of the events of messages: build at least one with queue()")
    trigger = _queue_trigger(sections[0].name, sections[0].broker, None)
    return cast("BatchEvent", seen(queue_codec.batch_event(items, trigger)))


def timer(
    name: str = "timer",
    *,
    schedule: str | None = None,
    every: str | None = None,
    at: str | None = None,
    timezone: str = "UTC",
    scheduled_at: datetime | str | None = None,
    missed: int = 0,
    past_due: bool | None = None,
    function: str = "function",
) -> TimerEvent:
    """Return the event of a timer's run. `schedule`, `every` and `at` are as in the configuration. Default: hourly.

    `scheduled_at` is a time with its offset (text: RFC 3339), or else the next of the schedule. `past_due` follows
    from `missed` unless it is given. Raises ValueError for a schedule that is none.
    """
    if schedule is every is at is None:
        schedule = "0 * * * *"
    every_s = None if every is None else parse_duration(every)
    found = parse_schedule(schedule=schedule, every_s=every_s, at=at, timezone=timezone, of=f"{function}/{name}")
    if isinstance(scheduled_at, str):
        scheduled_at = datetime.fromisoformat(scheduled_at)
    moment = scheduled_at or next_after(found, datetime.now(UTC))
    if moment is None:
        raise ValueError(f"{found.text} never comes again: give scheduled_at")
    if moment.tzinfo is None:
        raise ValueError(f"scheduled_at {moment} has no offset: write {moment.isoformat()}Z for UTC")
    run = Run(scheduled_at=moment, missed=missed, past_due=bool(missed) if past_due is None else past_due)
    return cast("TimerEvent", seen(timer_event(Timer(function=function, name=name, schedule=found), run)))


def call(
    *, json: object = NOTHING, data: bytes | None = None, text: str | None = None, caller: str = "cli"
) -> CallEvent:
    """Return the event of a direct invocation: by `forklight invoke`, or by the function `caller` that spawned it."""
    event = cli_event("function", *bodies.encode(json=json, data=data, text=text))
    return cast("CallEvent", seen(replace(event, source=f"/forklight/{caller}", call=CallSection(caller=caller))))


def _filled(template: str, params: Mapping[str, object]) -> str:
    """Return the path with these parameters. Raises ValueError if there is one too many or too few."""
    names = [found[1] for found in PARAMETER.finditer(template)]
    if sorted(names) != sorted(params):
        raise ValueError(f"{template} takes the parameters {', '.join(names)}, not {', '.join(params) or 'none'}")

    def value(found: re.Match[str]) -> str:
        return quote(str(params[found[1]]), safe="/" if found[0].endswith(":path}") else "")

    return PARAMETER.sub(value, template)


def _target(path: str, query: Mapping[str, object] | None) -> str:
    path, mark, written = path.partition("?")
    added = urlencode(query, doseq=True) if query else ""
    joined = "&".join(part for part in (written, added) if part)
    return quote(path, safe=_IN_PATHS) + (f"?{joined}" if joined else mark)


def _headers(
    method: str, body: bytes, content_type: str | None, *, headers: Mapping[str, str], cookies: Mapping[str, str]
) -> dict[str, str]:
    """Return the headers that every client sends, then the given ones."""
    found = {"host": "localhost"}
    if content_type is not None:
        found["content-type"] = content_type
    if body or method in _WITH_BODIES:
        found["content-length"] = str(len(body))
    if cookies:
        found["cookie"] = bodies.cookie(cookies)
    return found | {name.lower(): value for name, value in headers.items()}


def _match(head: Head, route: str | None, params: Mapping[str, object] | None, decode: Decode | None) -> Match:
    """Raises RefusedError, RouteError and ValueError."""
    if route is None:
        check_methods([head.method])
        decode_segments(head.path)
        return Match(Route(function="function", path=head.path, decode=decode), dict(params or {}))
    found = RouteTable([Route(function="function", path=route, decode=decode)]).find(head.method, head.path)
    if not isinstance(found, Match):
        raise ValueError(f"{head.method} {head.path} is not what the route {route} takes")
    return found if params is None else replace(found, params=dict(params))


def _queue_trigger(name: str, broker: str, decode: Decode | None) -> QueueTrigger:
    return QueueTrigger(function="function", queue=name, broker=broker, decode=decode, dead_letter="dead", slots=1)
