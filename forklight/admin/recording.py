"""`GET /record/FUNCTION`: waits for the function's next event, and answers with it as a probe. On the control socket.

The answer has two lines: an empty one once the recording waits, then a `Recorded` or a `NotRecorded`. While it
waits, it is a subscriber of the bus; so without one, events pass as if there were none.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import anyio
import msgspec
from aiohttp import web
from msgspec import Struct

from bus import Event
from bus.bus import Bus
from bus.invocation import Invocation, QueueVerdict
from forklight.admin.answers import Refused
from forklight.config.hint import did_you_mean
from forklight.config.units import parse_duration
from forklight.deploying.recording import Recorded, recorded
from forklight.serving.running import Current

_LOOK_S = 1.0
"""How often a recording looks whether its function is still there."""


class NotRecorded(Struct, frozen=True):
    """Why there is no event, in one line."""

    error: str


class Recording:
    """Records events; a request each."""

    def __init__(self, current: Current) -> None:
        self._current = current

    def routes(self) -> Iterable[web.RouteDef]:
        return [web.get("/record/{function}", self._record)]

    async def _record(self, request: web.Request) -> web.StreamResponse:
        """`?timeout=` is the longest wait, a duration; by default there is none."""
        function, running, text = request.match_info["function"], self._current(), request.query.get("timeout")
        if function not in running.config.functions:
            raise Refused(
                404, f"there is no function {function!r} here{did_you_mean(function, running.config.functions)}"
            )
        timeout_s = _duration_s(text)
        answer: Recorded | NotRecorded = NotRecorded(f"no event of {function} came within {text}")
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        with _next_event(running.bus, function) as (found, came):
            await response.prepare(request)
            await response.write(b"\n")
            with anyio.move_on_after(timeout_s):
                answer = await self._answer(function, found, came)
        await response.write(msgspec.json.encode(answer) + b"\n")
        return response

    async def _answer(self, function: str, found: list[Event], came: anyio.Event) -> Recorded | NotRecorded:
        while not found:
            with anyio.move_on_after(_LOOK_S):
                await came.wait()
            running = self._current()
            if not found and function not in running.config.functions:
                return NotRecorded(f"{function} was removed while its next event was waited for")
            if not found and running.draining:
                return NotRecorded("the server ends")
        return recorded(found[0])


@contextmanager
def _next_event(bus: Bus, function: str) -> Iterator[tuple[list[Event], anyio.Event]]:
    """Yield a list that gets the next event which the function ran, and what is set then."""
    found, came = list[Event](), anyio.Event()

    def look(invocation: Invocation) -> None:
        if not found and (event := _event_of(invocation, function)) is not None:
            found.append(event)
            came.set()

    bus.subscribe(look)
    try:
        yield found, came
    finally:
        bus.unsubscribe(look)


def _event_of(invocation: Invocation, function: str) -> Event | None:
    """Return the event, if the function had it. A message that is settled without a run may not have become one."""
    event = invocation.event
    if event is None or event.function != function:
        return None
    return None if invocation.outcome is None and isinstance(invocation.verdict, QueueVerdict) else event


def _duration_s(text: str | None) -> float | None:
    try:
        return None if text is None else parse_duration(text)
    except ValueError as error:
        raise Refused(400, f"the timeout {text!r} {error}") from None
