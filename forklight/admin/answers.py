"""Answers of the admin API: JSON, or one line of text that says what is wrong."""

from collections.abc import Awaitable, Callable

import msgspec
from aiohttp import web

from bus.store import RefusedError, StoreError
from forklight.admin.dead_letters import LetterError
from forklight.errors import ForklightError
from forklight.packages.errors import (
    MissingPackage,
    PackageError,
    PackageRefused,
    PackageTooLarge,
    StoreFailed,
    WrongOffset,
)

OFFSET = "Upload-Offset"
"""The header of an answer that says how many bytes of an upload are here."""
_OF_PACKAGES: dict[type[PackageError], int] = {
    MissingPackage: 404,
    WrongOffset: 409,
    PackageTooLarge: 413,
    PackageRefused: 422,
    StoreFailed: 507,
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Refused(ForklightError):
    """The request is refused: `status`, and the reason in one line."""

    def __init__(self, status: int, line: str) -> None:
        super().__init__(line)
        self.status = status


def as_json(value: object) -> web.Response:
    """Answer 200 with a value."""
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")


@web.middleware
async def errors_as_lines(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn expected errors into one line: 400 for a bad request, 404 for an unknown name, 503 for a store's failure.

    Errors of packages have statuses of their own.
    """
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
    except PackageError as error:
        status = next((status for kind, status in _OF_PACKAGES.items() if isinstance(error, kind)), 400)
        answer = _line(status, error)
        if isinstance(error, WrongOffset):
            answer.headers[OFFSET] = str(error.received)
        return answer


def _line(status: int, error: Exception) -> web.Response:
    return web.Response(status=status, text=f"{error}\n")
