"""Dead letters: `GET /dlq`, `GET /dlq/ID`, `POST /dlq/replay`, `POST /dlq/purge`. Only on the control socket."""

from collections.abc import Iterable

import msgspec
from aiohttp import web

from forklight.admin.answers import Refused, as_json
from forklight.admin.controls import Controls
from forklight.dead_letter_queues import SEARCHED, DeadLetterQueues, Selection


class Letters:
    """Answers from the dead letter queues."""

    def __init__(self, controls: Controls) -> None:
        self._controls = controls

    @property
    def _queues(self) -> DeadLetterQueues:
        return DeadLetterQueues(self._controls.bus, self._controls.triggers)

    def routes(self) -> Iterable[web.RouteDef]:
        """What is served. An id may have slashes."""
        return [
            web.get("/dlq", self._list),
            web.post("/dlq/replay", self._replay),
            web.post("/dlq/purge", self._purge),
            web.get("/dlq/{id:.+}", self._show),
        ]

    async def _list(self, request: web.Request) -> web.Response:
        """Up to `?limit=` of each queue, the oldest first; with `?queue=`, those that lie there or came from there."""
        limit = number(request, "limit", SEARCHED, most=SEARCHED)
        return as_json(await self._queues.letters(request.query.get("queue"), limit))

    async def _show(self, request: web.Request) -> web.Response:
        return as_json(await self._queues.show(request.match_info["id"], request.query.get("queue")))

    async def _replay(self, request: web.Request) -> web.Response:
        return as_json(await self._queues.replay(await _selection(request)))

    async def _purge(self, request: web.Request) -> web.Response:
        return as_json(await self._queues.purge(await _selection(request)))


async def _selection(request: web.Request) -> Selection:
    try:
        return msgspec.json.decode(await request.read(), type=Selection)
    except msgspec.DecodeError as error:
        raise Refused(400, str(error)) from None


def number(request: web.Request, name: str, default: int, *, most: int) -> int:
    """An integer of the query from 1 to `most`."""
    text = request.query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= most):
        raise Refused(400, f"{name}={text} is no number from 1 to {most}")
    return int(text)
