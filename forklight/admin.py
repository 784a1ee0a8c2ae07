"""The admin API: health, readiness, metrics, `ps` and `logs`, over the control socket and, if asked for, over TCP.

The control socket is 0600: whoever may use it is who runs the server, or root. The TCP listener is for probes and
Prometheus, so it has no logs, and it answers only to a Host that names it, because a browser on the same machine would
otherwise let any page ask (DNS rebinding).
"""

import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import msgspec
from aiohttp import web

from forklight.journal import Entry, Journal
from forklight.metrics import CONTENT_TYPE
from forklight.status import Status

_LAST_ANSWERS_S = 1.0
"""At the end, how long answers may take that are being written."""


class Admin:
    """Answers from what the app tells it: `status` and `metrics` are asked at each request."""

    def __init__(self, status: Callable[[], Status], metrics: Callable[[], bytes], journal: Journal) -> None:
        self._status = status
        self._metrics = metrics
        self._journal = journal

    @contextlib.asynccontextmanager
    async def on_socket(self, path: Path) -> AsyncIterator[None]:
        """Serve everything on a unix socket that only our own user and root can use."""
        _remove(path)  # what a killed predecessor left: whoever holds the state directory's lock owns it
        runner = _runner(self._app(with_logs=True))
        await runner.setup()
        before = os.umask(0o177)
        try:
            await web.UnixSite(runner, str(path)).start()
        finally:
            os.umask(before)
        try:
            yield
        finally:
            self._journal.close()
            await runner.cleanup()
            _remove(path)

    @contextlib.asynccontextmanager
    async def on_tcp(self, host: str, port: int) -> AsyncIterator[int]:
        """Serve health, readiness and metrics on TCP; yields the port. Raises OSError."""
        runner = _runner(self._app(with_logs=False))
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port).start()
            yield runner.addresses[0][1]
        finally:
            await runner.cleanup()

    def _app(self, *, with_logs: bool) -> web.Application:
        app = web.Application(middlewares=[] if with_logs else [_known_hosts_only])
        app.router.add_get("/healthz", self._health)
        app.router.add_get("/readyz", self._ready)
        app.router.add_get("/metrics", self._scrape)
        if with_logs:
            app.router.add_get("/status", self._tell)
            app.router.add_get("/logs", self._logs)
        return app

    async def _health(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _ready(self, _request: web.Request) -> web.Response:
        if self._status().draining:
            return web.Response(text="draining\n", status=503)
        return web.Response(text="ready\n")

    async def _scrape(self, _request: web.Request) -> web.Response:
        return web.Response(body=self._metrics(), headers={"Content-Type": CONTENT_TYPE})

    async def _tell(self, _request: web.Request) -> web.Response:
        return web.Response(body=msgspec.json.encode(self._status()), content_type="application/json")

    async def _logs(self, request: web.Request) -> web.StreamResponse:
        """JSON lines: what the rings hold, and with `?follow=1` what comes, of one function with `?function=`."""
        function = request.query.get("function")
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        with self._journal.follow() as follower:
            await response.write(b"".join(map(_line, self._journal.latest(function))))
            while request.query.get("follow") == "1" and (entry := await follower.next()) is not None:
                if function in (None, entry.function):
                    await response.write(_line(entry))
        return response


def _runner(app: web.Application) -> web.AppRunner:
    return web.AppRunner(app, access_log=None, shutdown_timeout=_LAST_ANSWERS_S)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


def _line(entry: Entry) -> bytes:
    return msgspec.json.encode(entry) + b"\n"


@web.middleware
async def _known_hosts_only(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    name = request.host.rpartition(":")[0] or request.host
    is_address = all(part.isdigit() for part in name.split(".")) or name.startswith("[")
    if is_address or name == "localhost":
        return await handler(request)
    return web.Response(status=403, text="this listener answers only to its address or localhost\n")
