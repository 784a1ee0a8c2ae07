"""How the admin API answers: JSON, or one line of text that says what is wrong."""

from collections.abc import Awaitable, Callable

import msgspec
from aiohttp import web

from bus.store import RefusedError, StoreError
from forklight.admin.dead_letters import LetterError
from forklight.errors import ForklightError

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Refused(ForklightError):
    """Nothing was done; `status` and one line say why."""

    def __init__(self, status: int, line: str) -> None:
        super().__init__(line)
        self.status = status


def as_json(value: object) -> web.Response:
    """200."""
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")


@web.middleware
async def errors_as_lines(request: web.Request, handler: Handler) -> web.StreamResponse:
    """What went wrong in a known way is one line: 400 asked wrongly, 404 there is no such thing, 503 not stored."""
    try:
        return await handler(request)
    except Refused as error:
        return _line(error.status, error)
    except LetterError as error:
        return _line(404, error)
    except RefusedError as error:
        return _line(400, error)
    except StoreError as error:
        return _line(503, error)


def _line(status: int, error: Exception) -> web.Response:
    return web.Response(status=status, text=f"{error}\n")
