"""What is deployed, over the API: `GET /applications`, and what changes it below `/applications/NAME`.

On the control socket, and with a deploy key on TCP. `deploy` answers with JSON lines: a `Step` each, and at the end a
`Deployed`. The other requests answer with a `Deployed`. Changes wait for one another: before each line there may be
empty ones, which show that the server still works. Whatever has begun goes on if the client leaves.
"""

import math
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Protocol

import anyio
import anyio.to_thread
import msgspec
from aiohttp import web

from forklight.admin.answers import Refused, as_json
from forklight.admin.guard import check_may_deploy, may_deploy, who
from forklight.packages.errors import MissingPackage
from forklight.packages.store import PackageStore
from forklight.serving.deployment import ApplicationStatus, Deployed, Step
from forklight.state.directory import application_problem

STILL_THERE_S = 10.0
"""The longest silence in an answer. Proxies give up after a minute, as a rule."""
_MOST_REASON = 500

Report = Callable[[Step], None]


class Deployer(Protocol):
    """Changes what is deployed, one change after the other."""

    store: PackageStore

    async def deploy(
        self, application: str, package: str, *, by: str, canary_percent: float = 0, report: Report
    ) -> Deployed:
        """Make a release of a package of the store, and switch to it or begin it as a canary."""
        ...

    async def rollback(self, application: str, version: int | None, *, by: str) -> Deployed: ...
    async def promote(self, application: str, *, by: str) -> Deployed: ...
    async def abort(self, application: str, *, by: str, reason: str = "") -> Deployed: ...
    async def alias(self, application: str, name: str, version: int | None) -> Deployed: ...
    async def remove(self, application: str, *, by: str) -> Deployed: ...
    def applications(self) -> tuple[ApplicationStatus, ...]: ...


class Applications:
    """Answers requests about deployed applications."""

    def __init__(self, deployer: Deployer) -> None:
        self._deployer = deployer

    def routes(self) -> Iterable[web.RouteDef]:
        one = "/applications/{name}"
        return [
            web.get("/applications", self._list),
            web.post(f"{one}/deploy", self._deploy),
            web.post(f"{one}/rollback", self._rollback),
            web.post(f"{one}/promote", self._promote),
            web.post(f"{one}/abort", self._abort),
            web.post(f"{one}/remove", self._remove),
            web.put(f"{one}/aliases/{{alias}}", self._set_alias),
            web.delete(f"{one}/aliases/{{alias}}", self._remove_alias),
        ]

    async def _list(self, request: web.Request) -> web.Response:
        """List those that the client may change. `?for=` is one that it wants to change."""
        if wanted := request.query.get("for"):
            check_may_deploy(request, wanted)
        return as_json([one for one in self._deployer.applications() if may_deploy(request, one.name)])

    async def _deploy(self, request: web.Request) -> web.StreamResponse:
        """`?package=` is its SHA-256, `?canary=` the percentage of events that the new version serves, if not all."""
        name, canary, by = _application(request), _percent(request), who(request)
        package = request.query.get("package", "")
        if not await anyio.to_thread.run_sync(self._deployer.store.has, package):
            raise MissingPackage(f"the package {package[:12]} is not here: upload it first")
        deploy = self._deployer.deploy
        return await _streamed(
            request, lambda report: deploy(name, package, by=by, canary_percent=canary, report=report)
        )

    async def _rollback(self, request: web.Request) -> web.StreamResponse:
        """`?version=` is a number or an alias; without it, go back to the version before."""
        name, by = _application(request), who(request)
        text = request.query.get("version")
        version = None if text is None else self._number(name, text)
        return await _streamed(request, lambda _: self._deployer.rollback(name, version, by=by))

    async def _promote(self, request: web.Request) -> web.StreamResponse:
        name, by = _application(request), who(request)
        return await _streamed(request, lambda _: self._deployer.promote(name, by=by))

    async def _abort(self, request: web.Request) -> web.StreamResponse:
        name, by = _application(request), who(request)
        reason = request.query.get("reason", "")[:_MOST_REASON]
        return await _streamed(request, lambda _: self._deployer.abort(name, by=by, reason=reason))

    async def _remove(self, request: web.Request) -> web.StreamResponse:
        name, by = _application(request), who(request)
        return await _streamed(request, lambda _: self._deployer.remove(name, by=by))

    async def _set_alias(self, request: web.Request) -> web.StreamResponse:
        name = _application(request)
        version = self._number(name, request.query.get("version", ""))
        return await self._aliased(request, name, version)

    async def _remove_alias(self, request: web.Request) -> web.StreamResponse:
        return await self._aliased(request, _application(request), None)

    async def _aliased(self, request: web.Request, name: str, version: int | None) -> web.StreamResponse:
        alias = request.match_info["alias"]
        return await _streamed(request, lambda _: self._deployer.alias(name, alias, version))

    def _number(self, name: str, text: str) -> int:
        """Return the number of a version, which may be given as an alias. Raises Refused."""
        if text.isascii() and text.isdecimal() and len(text) < 10:
            return int(text)
        aliases = next((one.aliases for one in self._deployer.applications() if one.name == name), {})
        if text not in aliases:
            known = f"its aliases are {', '.join(sorted(aliases))}" if aliases else "it has no aliases"
            raise Refused(400, f"{text!r} is neither a version nor an alias of {name}: {known}")
        return aliases[text]


async def _streamed(request: web.Request, work: Callable[[Report], Awaitable[Deployed]]) -> web.StreamResponse:
    """Answer with what `work` reports, a line each, and with its result."""
    response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson", "X-Accel-Buffering": "no"})
    await response.prepare(request)
    send, receive = anyio.create_memory_object_stream[Step | Deployed](math.inf)

    def report(step: Step) -> None:
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):  # the client has left
            send.send_nowait(step)

    async def run() -> None:
        with send:
            await send.send(await work(report))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        with receive:
            while True:
                line = b"\n"
                with anyio.move_on_after(STILL_THERE_S):
                    try:
                        line = msgspec.json.encode(await receive.receive()) + b"\n"
                    except anyio.EndOfStream:
                        break
                await response.write(line)
    return response


def _application(request: web.Request) -> str:
    """Return the name, of one that the client may change. Raises Refused."""
    name = request.match_info["name"]
    if problem := application_problem(name):
        raise Refused(400, problem)
    check_may_deploy(request, name)
    return name


def _percent(request: web.Request) -> float:
    text = request.query.get("canary")
    if text is None:
        return 0
    try:
        percent = float(text)
    except ValueError:
        percent = 0
    if not 0 < percent < 100:
        raise Refused(400, f"canary={text} is not a percentage between 0 and 100")
    return percent
