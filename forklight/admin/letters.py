"""Dead letters: `GET /dlq`, `GET /dlq/ID`, `POST /dlq/replay`, `POST /dlq/purge`. Only on the control socket."""

from collections.abc import Iterable

import msgspec
from aiohttp import web

from forklight.admin.answers import Refused, as_json
from forklight.admin.dead_letter_queues import FIRST_PAGE, DeadLetterQueues, Selection
from forklight.serving.running import Current
from forklight.serving.strays import FILE

MOST = 1_000_000
"""The largest `limit` and `skip`."""


class Letters:
    """Answers requests about dead letters."""

    def __init__(self, current: Current) -> None:
        self._current = current

    async def _queues(self) -> DeadLetterQueues:
        running = self._current()
        found = await running.strays.find(running.config.queues)
        strays = [stray.place for stray in found if stray.place[0] != FILE]
        return DeadLetterQueues(running.bus, running.config.queues, strays)

    def routes(self) -> Iterable[web.RouteDef]:
        return [
            web.get("/dlq", self._list),
            web.post("/dlq/replay", self._replay),
            web.post("/dlq/purge", self._purge),
            web.get("/dlq/{id:.+}", self._show),  # an id may contain slashes
        ]

    async def _list(self, request: web.Request) -> web.Response:
        """List `?limit=` letters after the first `?skip=`, each queue's oldest first; `?queue=` selects one queue."""
        limit, skip = number(request, "limit", FIRST_PAGE, most=MOST), number(request, "skip", 0, most=MOST)
        return as_json(await (await self._queues()).letters(request.query.get("queue"), limit, skip))

    async def _show(self, request: web.Request) -> web.Response:
        return as_json(await (await self._queues()).show(request.match_info["id"], request.query.get("queue")))

    async def _replay(self, request: web.Request) -> web.Response:
        return as_json(await (await self._queues()).replay(await _selection(request)))

    async def _purge(self, request: web.Request) -> web.Response:
        return as_json(await (await self._queues()).purge(await _selection(request)))


async def _selection(request: web.Request) -> Selection:
    try:
        return msgspec.json.decode(await request.read(), type=Selection)
    except msgspec.DecodeError as error:
        raise Refused(400, str(error)) from None


def number(request: web.Request, name: str, default: int, *, most: int) -> int:
    """Read an integer of the query, from 1 (or `default` if that is less) to `most`. Raises Refused."""
    text = request.query.get(name)
    if text is None:
        return default
    least = min(1, default)
    if not (text.isascii() and text.isdigit() and len(text) < 10 and least <= int(text) <= most):
        raise Refused(400, f"{name}={text} is not a number from {least} to {most}")
    return int(text)
