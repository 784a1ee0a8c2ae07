"""The admin API, on the control socket: what `ps`, `logs`, `why`, `timers` and `dlq` show, what `invoke`, `send`, `dlq`
and `reload` do, and health, readiness and metrics.

The control socket has the mode 0600, so only the server's user and root can use it. The optional TCP listener is for
probes and Prometheus: it serves health, readiness and metrics; and deployments for those who bring a deploy key
(`guard.py`).
"""

import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from ssl import SSLContext
from typing import Protocol

import anyio.to_thread
import msgspec
from aiohttp import web
from msgspec.structs import replace

from forklight.admin.acting import Acting
from forklight.admin.answers import Refused, as_json, errors_as_lines
from forklight.admin.applications import Applications, Deployer
from forklight.admin.backup import Backup
from forklight.admin.guard import guarded
from forklight.admin.letters import Letters, number
from forklight.admin.packages import Packages
from forklight.admin.recording import Recording
from forklight.admin.why import Why
from forklight.config.hint import did_you_mean
from forklight.observe.entry import Entry, Selection
from forklight.observe.metrics import CONTENT_TYPE, text
from forklight.observe.timer_status import MOST_UPCOMING
from forklight.serving.reloaded import ReloadResult
from forklight.serving.running import Current
from forklight.serving.unread import with_unread
from forklight.state.directory import keys_path
from sandbox.guest._forklight.wire import LEVELS
from triggers.http.policy.keys import Keys

_LAST_ANSWERS_S = 1.0
"""At the end, how long answers in progress may take."""
_MOST_LINES = 1_000_000
_MOST_RELEASES = 2**31
_LARGEST_BODY_BYTES = 64 * 1024 * 1024
"""Largest body of `invoke` and `send`: four times RabbitMQ's default for a message."""


class Reload(Protocol):
    """Reloads the server."""

    async def __call__(self, *, renew_all: bool) -> ReloadResult: ...


class Admin:
    """Answers from the running server as it is at each request; a reload replaces it."""

    def __init__(self, current: Current, reload: Reload, deployer: Deployer | None = None) -> None:
        self._current = current
        self._deployer = deployer
        self._reload = reload
        self._journal = current().observer.journal

    @contextlib.asynccontextmanager
    async def on_socket(self, path: Path) -> AsyncIterator[None]:
        """Serve everything on a unix socket that only our own user and root can use."""
        _remove(path)  # left by a killed server: the holder of the state directory's lock owns it
        runner = _runner(self._app(on_socket=True))
        await runner.setup()
        before = os.umask(0o177)  # not chmod afterwards: until then others could connect
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
    async def on_tcp(self, host: str, port: int, tls: SSLContext | None = None) -> AsyncIterator[int]:
        """Serve health, readiness and metrics on TCP; yield the port. Raises OSError."""
        runner = _runner(self._app(on_socket=False))
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port, ssl_context=tls).start()
            yield runner.addresses[0][1]
        finally:
            await runner.cleanup()

    def _app(self, *, on_socket: bool) -> web.Application:
        probes = {"/healthz": self._health, "/readyz": self._ready, "/metrics": self._scrape}
        guards = [] if on_socket else [guarded(Keys(keys_path(self._current().state.path)), probes)]
        app = web.Application(middlewares=[errors_as_lines, *guards], client_max_size=_LARGEST_BODY_BYTES)
        for path, handler in probes.items():
            app.router.add_get(path, handler)
        if self._deployer is not None:
            app.add_routes(Applications(self._deployer).routes())
            app.add_routes(Packages(self._deployer.store).routes())
        if on_socket:
            app.router.add_get("/status", self._show_status)
            app.router.add_get("/logs", self._logs)
            app.router.add_get("/why", Why(self._current).explain)
            app.router.add_get("/queues", self._queues)
            app.router.add_get("/timers", self._timers)
            app.add_routes(Acting(self._current).routes())
            app.add_routes(Letters(self._current).routes())
            app.add_routes(Recording(self._current).routes())
            app.add_routes(Backup(self._current().stores.embedded).routes())
            app.router.add_post("/reload", self._reloaded)
        return app

    async def _health(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _ready(self, _request: web.Request) -> web.Response:
        running = self._current()
        if running.draining:
            return web.Response(text="draining\n", status=503)
        if lost := running.lost_stores():
            return web.Response(text=f"not connected: {', '.join(lost)}\n", status=503)
        return web.Response(text="ready\n")

    async def _scrape(self, _request: web.Request) -> web.Response:
        running = self._current()
        queues = await running.queue_statuses()
        timers = running.triggers.timers.statistics()
        status, usage = running.status(), running.usage()
        families = running.observer.metrics(
            status.functions, queues, timers, running.reloaded, usage, machine=status.machine
        )
        body = await anyio.to_thread.run_sync(text, families)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE})

    async def _show_status(self, request: web.Request) -> web.Response:
        """Answer with the status.

        With `?unread=1` also with what has changed on disk since it was read, with `?usage=1` with what has been used.
        """
        running = self._current()
        queues, timers = await running.queue_statuses(), running.timer_statuses()
        usage = running.usage() if request.query.get("usage") == "1" else None
        status = replace(running.status(), queues=queues, timers=timers, usage=usage)
        return as_json(await with_unread(running, status) if request.query.get("unread") == "1" else status)

    async def _queues(self, _request: web.Request) -> web.Response:
        return as_json(await self._current().queue_statuses())

    async def _timers(self, request: web.Request) -> web.Response:
        """List the timers, each with up to `?next=` times to come."""
        return as_json(self._current().timer_statuses(number(request, "next", 1, most=MOST_UPCOMING)))

    async def _reloaded(self, request: web.Request) -> web.Response:
        """Answer with what was switched, or why nothing was. The reload continues if the client leaves.

        `?all=1` also renews functions that do not use what has changed.
        """
        return as_json(await self._reload(renew_all=request.query.get("all") == "1"))

    async def _logs(self, request: web.Request) -> web.StreamResponse:
        """Answer with JSON lines: the entries that are remembered, and with `?follow=1` new ones too.

        `?function=`, `?id=` (an id or its end), `?level=` (the lowest), `?since=` (seconds since the epoch) and
        `?version=` (the number of a release) select;
        `?last=` is the number of remembered entries.
        """
        selection, history = _selection(request), self._current().observer.history
        function, functions = selection.function, self._current().config.functions
        is_served = function is None or function in functions
        if not (is_served or await history.last(Selection(function=function), 1)):  # nor was it before
            hint = did_you_mean(function or "", functions)
            raise Refused(404, f"there is no function {function!r} here, and no line of it is kept{hint}")
        last = number(request, "last", 0, most=_MOST_LINES)
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        with self._journal.follow() as follower:
            if last:
                await response.write(b"".join(map(_line, await history.last(selection, last))))
            else:
                async for entries in history.read(selection):
                    await response.write(b"".join(map(_line, entries)))
            while request.query.get("follow") == "1" and (entry := await follower.next()) is not None:
                if selection.has(entry):
                    await response.write(_line(entry))
        return response


def _selection(request: web.Request) -> Selection:
    """Raises Refused."""
    query = request.query
    level = query.get("level", "")
    if level and level not in LEVELS:
        raise Refused(400, f"level {level!r} is not one of {', '.join(LEVELS)}")
    try:
        since_s = float(query.get("since", "0"))
    except ValueError:
        raise Refused(400, f"since {query['since']!r} is not a number of seconds") from None
    release = number(request, "version", 0, most=_MOST_RELEASES)
    return Selection(
        function=query.get("function"),
        invocation=query.get("id", ""),
        level=level,
        since_s=since_s,
        release=release,
    )


def _runner(app: web.Application) -> web.AppRunner:
    """`handler_cancellation`: a client that leaves cancels its `invoke`."""
    return web.AppRunner(app, access_log=None, shutdown_timeout=_LAST_ANSWERS_S, handler_cancellation=True)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


def _line(entry: Entry) -> bytes:
    return msgspec.json.encode(entry) + b"\n"
