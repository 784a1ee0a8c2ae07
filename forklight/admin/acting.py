"""Requests that make something happen: `POST /invoke/FUNCTION` and `POST /send`. Only on the control socket.

The body and its content type become those of the event or message; everything else is in the query.
"""

from collections.abc import Iterable
from typing import Any

from aiohttp import web
from msgspec.structs import replace

from bus import Event, Outcome
from bus.limits import MAX_NAME_BYTES
from bus.message import OURS, Message, Outgoing, event_message, inbox
from bus.places import split_place
from forklight.admin.answers import Refused, as_json
from forklight.config.hint import did_you_mean
from forklight.config.units import parse_duration
from forklight.observe.queue_status import written
from forklight.serving.invoking import cli_event, outcome_as_json
from forklight.serving.running import Current, Running


class Acting:
    """Invokes functions, fires timers, sends messages."""

    def __init__(self, current: Current) -> None:
        self._current = current

    def routes(self) -> Iterable[web.RouteDef]:
        return [web.post("/invoke/{function}", self._invoke), web.post("/send", self._send)]

    async def _invoke(self, request: web.Request) -> web.Response:
        """Answer with the outcome as JSON. `?timer=NAME` fires a timer now; an empty name means the only timer."""
        function, running = request.match_info["function"], self._current()
        if function not in running.config.functions:
            hint = did_you_mean(function, running.config.functions)
            raise Refused(404, f"there is no function {function!r} here{hint}")
        if "timer" in request.query:
            outcome = await _fire(running, function, request.query["timer"])
        else:
            event = cli_event(function, await request.read(), _content_type(request))
            outcome = await running.bus.call_reported(event)
        return web.Response(body=outcome_as_json(outcome), content_type="application/json")

    async def _send(self, request: web.Request) -> web.Response:
        """Answer once the message is stored, with its id and the functions here that consume the queue."""
        query, running = request.query, self._current()
        name = query.get("queue", "")
        queue, broker = _place(running, name)
        message = _message(query.get("id"), await request.read(), _content_type(request), _headers(query))
        outgoing = Outgoing(queue=queue, message=message, delay_s=_delay_s(query.get("delay")), broker=broker)
        await running.bus.store(broker).publish([outgoing])
        consumers = [one.function for one in running.config.queues if (one.queue, one.broker) == (queue, broker)]
        known = {written((one.broker, one.queue)) for one in running.config.queues}
        hint = "" if consumers else did_you_mean(name, known)
        return as_json(
            {"id": message.id, "queue": written((broker, queue)), "consumers": sorted(set(consumers)), "hint": hint}
        )


async def _fire(running: Running, function: str, name: str) -> Outcome:
    names = [timer.name for timer in running.config.timers if timer.function == function]
    if name and name not in names:
        known = f": its timers are {', '.join(map(repr, names))}" if names else ""
        raise Refused(404, f"{function} has no timer {name!r}{did_you_mean(name, names) or known}")
    try:
        return await running.triggers.timers.run(function, name or None)
    except LookupError as error:
        raise Refused(404, str(error)) from None


def _place(running: Running, name: str) -> tuple[str, str]:
    """Return the queue and its broker. Raises Refused for a name that can only be a mistake."""
    queue, broker = split_place(name, running.brokers)
    if not queue or len(queue.encode()) > MAX_NAME_BYTES or not queue.isprintable():
        raise Refused(400, f"{name!r} is not a queue name: names have 1 to {MAX_NAME_BYTES} printable bytes")
    if queue.startswith("forklight.") and queue not in {inbox(function) for function in running.config.functions}:
        raise Refused(
            400, f"cannot send to {name!r}: of the queues that begin with forklight., only inboxes can be used"
        )
    other = name.rpartition("@")[2]
    if "@" in name and not broker and not any(one.queue == name for one in running.config.queues):
        raise Refused(404, f"there is no broker {other!r} here{did_you_mean(other, running.brokers)}")
    return queue, broker


def _message(message_id: str | None, body: bytes, content_type: str | None, headers: dict[str, Any]) -> Message:
    event = Event(source="/forklight/cli", type="forklight.queue", datacontenttype=content_type, body=body)
    if message_id is not None:
        event = replace(event, id=message_id)
    message = event_message(event)
    return replace(message, headers=message.headers | headers)


def _headers(query: Any) -> dict[str, Any]:
    """Parse any number of `header=name=value`."""
    found = {}
    for text in query.getall("header", ()):
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise Refused(400, f"the header {text!r} is not of the form name=value")
        if name.lower().startswith(OURS):
            raise Refused(400, f"the header {name!r} cannot be set: {OURS} is reserved")
        found[name] = value
    return found


def _delay_s(text: str | None) -> float:
    try:
        return 0.0 if text is None else parse_duration(text)
    except ValueError as error:
        raise Refused(400, f"the delay {text!r} {error}") from None


def _content_type(request: web.Request) -> str | None:
    return request.headers.get("Content-Type")
