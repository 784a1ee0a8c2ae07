"""A probe: a file with an event, which a deploy runs on a new version of a function before that serves. Blocks.

`probe_file.py` has the form of the file. The event is made by the trigger's own codec.
"""

from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from msgspec.structs import asdict, replace

from bus.event import CallSection, Event
from bus.message import Delivery, event_message, inbox
from bus.message import Envelope as Properties
from bus.places import join_place
from bus.times import rfc3339
from forklight.config.document import Node
from forklight.config.functions import FunctionSettings
from forklight.config.hint import did_you_mean
from forklight.config.probe_file import Contents, Envelope, ProbeFile, Request, read_probe
from forklight.config.problem import Problem
from triggers.http import HttpTriggerError, Route, RouteTable
from triggers.http.codec import to_event as http_event
from triggers.http.errors import RefusedError
from triggers.http.head import parse_head
from triggers.http.policy.keys import Holder
from triggers.http.routes import Match
from triggers.queue import codec as queue_codec
from triggers.queue.errors import UnreadableError
from triggers.queue.settings import QueueTrigger, inbox_of, trigger_of
from triggers.timer import timers_of
from triggers.timer.events import to_event_now

SOURCE = "/forklight/probe"
"""The `source` of the event: a handler may tell a probe by it."""


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
        written = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    try:
        return event_of(function, settings, read_probe(written))
    except (RefusedError, HttpTriggerError, UnreadableError) as error:
        raise ValueError(f"{path} is an event that no handler gets: {error}") from None
    except ValueError as error:
        raise ValueError(f"{path} {error}") from None


def event_of(function: str, settings: FunctionSettings, probe: ProbeFile) -> Event:
    """Return the event that a file stands for.

    Raises ValueError, as the end of a sentence about the file, and the errors of the triggers.
    """
    if probe.http is not None:
        event = _of_request(function, settings, probe.http, probe)
    elif probe.queue is not None:
        event = _of_messages(function, settings, probe.queue, probe)
    elif probe.timer is not None:
        event = _of_timer(function, settings, probe.timer)
    else:
        event = _call(probe)
    items = None if event.items is None else tuple(replace(one, source=SOURCE, fixed=b"") for one in event.items)
    return replace(event, function=function, source=SOURCE, items=items, fixed=b"")


def _call(probe: Contents) -> Event:
    return Event(
        source=SOURCE,
        type="forklight.call",
        datacontenttype=probe.media_type(),
        body=probe.body(),
        call=CallSection(caller="probe"),
    )


def _of_request(function: str, settings: FunctionSettings, request: Request, probe: Contents) -> Event:
    body, kind = probe.body(), probe.media_type()
    sent = {"host": "localhost"} | ({"content-type": kind} if kind else {})
    sent |= {name.lower(): value for name, value in request.headers.items()}
    sent |= {"content-length": str(len(body))} if body else {}
    head = parse_head(request.method, request.path, (1, 1), sent.items())
    found = RouteTable([Route(function=function, **asdict(one)) for one in settings.http]).find(head.method, head.path)
    if not isinstance(found, Match):
        raise ValueError(f"is a request to {request.method} {request.path}, which is no route of the function")
    return http_event(
        head,
        found,
        body,
        remote="127.0.0.1",
        invocation_id=str(uuid4()),
        time=rfc3339(datetime.now(UTC)),
        holder=None if found.route.auth is None else Holder("probe", found.route.scopes),
    )


def _of_messages(function: str, settings: FunctionSettings, queue: str, probe: ProbeFile) -> Event:
    trigger = _trigger(function, settings, queue)
    if probe.batch is None:
        event = queue_codec.to_event(_delivery(trigger, probe), trigger)
        return queue_codec.batch_event([event], trigger) if trigger.batch else event
    if not trigger.batch:
        raise ValueError(f"has a batch, but the function takes the messages of {queue!r} one by one: leave it out")
    if len(probe.batch) > trigger.batch:
        raise ValueError(f"has {len(probe.batch)} messages, and a batch of {queue!r} has at most {trigger.batch}")
    items = []
    for place, one in enumerate(probe.batch):
        try:
            items.append(queue_codec.to_event(_delivery(trigger, one), trigger))
        except UnreadableError as error:
            raise UnreadableError(f"batch[{place}]: {error}") from None
        except ValueError as error:
            raise ValueError(f"batch[{place}] {error}") from None
    return queue_codec.batch_event(items, trigger)


def _trigger(function: str, settings: FunctionSettings, queue: str) -> QueueTrigger:
    """Return the trigger of `orders`, `orders@shop` or the function's inbox. Raises ValueError.

    The broker may be left out if that leaves no doubt.
    """
    if queue == inbox(function):
        return inbox_of(function, slots=1, max_hops=1)
    places = {join_place(one.queue, one.broker): one for one in settings.queue}
    named = [one for one in settings.queue if one.queue == queue]
    one = places.get(queue) or (named[0] if len(named) == 1 else None)
    if one is None:
        raise ValueError(f"is a message of {queue!r}, which the function does not consume{did_you_mean(queue, places)}")
    return trigger_of(one, function, slots=1, max_hops=1)


def _delivery(trigger: QueueTrigger, one: Contents) -> Delivery:
    message, envelope = event_message(replace(_call(one), type=queue_codec.TYPE, call=None)), one.message or Envelope()
    return Delivery(
        queue=trigger.queue,
        message=replace(
            message,
            headers=message.headers | envelope.headers,
            correlation_id=envelope.correlation_id,
            reply_to=envelope.reply_to,
        ),
        lease=None,
        exchange=envelope.exchange,
        routing_key=envelope.routing_key,
        envelope=Properties(
            content_encoding=envelope.content_encoding,
            type=envelope.type,
            app_id=envelope.app_id,
            user_id=envelope.user_id,
            priority=envelope.priority,
            timestamp_s=envelope.timestamp_s(),
            expiration=envelope.expiration,
        ),
    )


def _of_timer(function: str, settings: FunctionSettings, name: str) -> Event:
    timers = timers_of(function, settings.timer)
    timer = next((one for one in timers if name in ("", one.name)), None)
    if timer is None:
        raise ValueError(
            f"is a run of the timer {name!r}, which the function has not{did_you_mean(name, [t.name for t in timers])}"
        )
    return to_event_now(timer, datetime.now(UTC))
