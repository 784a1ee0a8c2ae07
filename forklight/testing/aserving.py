"""`Application` for tests that are `async def`: blocking calls run in a thread."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar, Unpack

import anyio
from anyio.to_thread import run_sync

from forklight.observe.entry import Entry
from forklight.testing.application import POLL_S, Application, started
from forklight.testing.options import InvokeOptions, RequestOptions, SendOptions
from forklight.testing.results import Ended, Response

_T = TypeVar("_T")


class AsyncApplication:
    """A running application. `wrapped` is the blocking one, whose methods have the same parameters and errors."""

    def __init__(self, wrapped: Application) -> None:
        self.wrapped = wrapped
        self.url = wrapped.url
        self.state = wrapped.state
        self.data = wrapped.data

    async def get(self, path: str, **options: Unpack[RequestOptions]) -> Response:
        """Return `request("GET", …)`."""
        return await self.request("GET", path, **options)

    async def post(self, path: str, **options: Unpack[RequestOptions]) -> Response:
        """Return `request("POST", …)`."""
        return await self.request("POST", path, **options)

    async def request(self, method: str, path: str, **options: Unpack[RequestOptions]) -> Response:
        """Send an HTTP request, with the options of `Application.request`."""
        return await _abandonable(partial(self.wrapped.request, method, path, **options))

    async def send(self, queue: str, **options: Unpack[SendOptions]) -> str:
        """Send a message to a queue, with the options of `Application.send`, and return its id."""
        return await _abandonable(partial(self.wrapped.send, queue, **options))

    async def invoke(self, function: str, **options: Unpack[InvokeOptions]) -> Ended:
        """Run a function once, with the options of `Application.invoke`."""
        return await _abandonable(partial(self.wrapped.invoke, function, **options))

    async def create_key(self, name: str, scopes: Sequence[str] = ()) -> str:
        """Make a key for routes with `auth`, and return it."""
        return await run_sync(self.wrapped.create_key, name, scopes)

    def logs(self, function: str | None = None) -> list[Entry]:
        """Return all lines so far."""
        return self.wrapped.logs(function)

    async def wait_for(
        self, matches: Callable[[Entry], bool] | None = None, *, timeout_s: float = 10.0, **fields: object
    ) -> Entry:
        """Return the first line of the log, past or future, that `matches` accepts and that has these fields."""
        await self.wait_until(lambda: bool(self.wrapped.matching(matches, fields)), timeout_s=timeout_s)
        return self.wrapped.matching(matches, fields)[0]

    async def wait_until(
        self, condition: Callable[[], bool] | Callable[[], Awaitable[bool]], *, timeout_s: float = 10.0
    ) -> None:
        """Wait for the condition, which may be `async def`. Raises TimeoutError with the last lines of the log."""
        end_s = time.monotonic() + timeout_s
        while True:
            found = condition()
            if found is True or (not isinstance(found, bool) and await found):
                return
            self.wrapped.check(end_s, timeout_s)
            await anyio.sleep(POLL_S)


async def _abandonable(ask: Callable[[], _T]) -> _T:
    """Run a blocking call in a thread. A cancelled test does not wait for it: it ends at the latest with the server."""
    return await run_sync(ask, abandon_on_cancel=True)


@asynccontextmanager
async def serve(
    path: str | Path = ".", *, env: Mapping[str, str] | None = None, data: str | Path | None = None
) -> AsyncIterator[AsyncApplication]:
    """`serving` for tests that are `async def`. The server is stopped whether the block ends, fails or is cancelled."""
    with started(path, env or {}, data) as application:
        await run_sync(application.wait_ready, abandon_on_cancel=True)
        yield AsyncApplication(application)
        with anyio.CancelScope(shield=True):
            await run_sync(application.stop)
