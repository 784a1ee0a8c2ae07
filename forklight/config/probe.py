"""A probe: a file with an event, which a deploy runs on a new version of a function before that serves. Blocks.

The file is JSON: `data`, and one of `http`, `queue` and `timer` if the function has such a trigger. Else it is a call,
as `forklight invoke` makes it. The event is made by the trigger's own codec.
"""

from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import asdict, replace

from bus.event import CallSection, Event
from bus.message import Delivery, event_message
from bus.times import rfc3339
from forklight.config.document import Node
from forklight.config.functions import FunctionSettings
from forklight.config.problem import Problem
from triggers.http import HttpTriggerError, Route, RouteTable
from triggers.http.codec import to_event as http_event
from triggers.http.errors import RefusedError
from triggers.http.head import parse_head
from triggers.http.policy.keys import Holder
from triggers.http.routes import Match
from triggers.queue import codec as queue_codec
from triggers.queue.errors import UnreadableError
from triggers.queue.settings import trigger_of
from triggers.timer import timers_of
from triggers.timer.events import to_event_now

SOURCE = "/forklight/probe"
"""The `source` of the event: a handler may tell a probe by it."""
_JSON = "application/json"
_EXAMPLE = '{"http": {"method": "POST", "path": "/orders"}, "data": {"n": 1}}'


class _Request(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    path: str
    method: str = "GET"
    headers: dict[str, str] = {}


class _Written(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    http: _Request | None = None
    queue: str | None = None
    timer: str | None = None
    data: Raw = Raw(b"")


def probe_of(function: str, settings: FunctionSettings, place: Node, problems: list[Problem]) -> Event | None:
    """Return the function's probe, if it has one. Appends what is wrong with it."""
    try:
        return None if settings.probe is None else probe_event(function, settings, settings.probe)
    except ValueError as error:
        problems.append(place.problem(str(error)))
        return None


def probe_event(function: str, settings: FunctionSettings, path: Path) -> Event:
    """Return the event in this file for the function. Raises ValueError, which says what is wrong with it."""
    try:
        written = msgspec.json.decode(path.read_bytes(), type=_Written)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not an event: {error}; write one such as {_EXAMPLE}") from None
    kinds = [kind for kind in ("http", "queue", "timer") if getattr(written, kind) is not None]
    if len(kinds) > 1:
        raise ValueError(f"{path} has {' and '.join(kinds)}: an event has one of them")
    try:
        event = _event(function, settings, written)
    except (RefusedError, HttpTriggerError, UnreadableError) as error:
        raise ValueError(f"{path} is an event that no handler gets: {error}") from None
    return replace(event, function=function, source=SOURCE, fixed=b"")


def _event(function: str, settings: FunctionSettings, written: _Written) -> Event:
    body = bytes(written.data)
    call = Event(
        source=SOURCE,
        type="forklight.call",
        datacontenttype=_JSON if body else None,
        body=body,
        call=CallSection(caller="probe"),
    )
    if written.http is not None:
        return _of_request(function, settings, written.http, body)
    if written.queue is not None:
        return _of_message(function, settings, written.queue, call)
    if written.timer is not None:
        return _of_timer(function, settings, written.timer)
    return call


def _of_request(function: str, settings: FunctionSettings, request: _Request, body: bytes) -> Event:
    sent = {"host": "localhost"} | ({"content-type": _JSON, "content-length": str(len(body))} if body else {})
    sent |= {name.lower(): value for name, value in request.headers.items()}
    head = parse_head(request.method, request.path, (1, 1), sent.items())
    found = RouteTable([Route(function=function, **asdict(one)) for one in settings.http]).find(head.method, head.path)
    if not isinstance(found, Match):
        raise ValueError(f"{request.method} {request.path} is no route of the function")
    return http_event(
        head,
        found,
        body,
        remote="127.0.0.1",
        invocation_id=str(uuid4()),
        time=rfc3339(datetime.now(UTC)),
        holder=None if found.route.auth is None else Holder("probe", found.route.scopes),
    )


def _of_message(function: str, settings: FunctionSettings, queue: str, call: Event) -> Event:
    one = next((one for one in settings.queue if one.queue == queue), None)
    if one is None:
        raise ValueError(f"the function does not consume {queue!r}")
    trigger = trigger_of(one, function, slots=1, max_hops=1)
    message = event_message(replace(call, type=queue_codec.TYPE, call=None))
    event = queue_codec.to_event(Delivery(queue=queue, message=message, lease=None, attempt=1), trigger)
    return queue_codec.batch_event([event], trigger) if one.batch else event


def _of_timer(function: str, settings: FunctionSettings, name: str) -> Event:
    timers = timers_of(function, settings.timer)
    timer = next((one for one in timers if name in ("", one.name)), None)
    if timer is None:
        raise ValueError(f"the function has no timer {name!r}")
    return to_event_now(timer, datetime.now(UTC))
