"""Deploys: from what is served to another release of one application, completely or not at all.

Theory of operation. A deploy is a reload of one application. Its package is unpacked, its configuration is read as the
server allows it and checked against the other applications, snapshots are taken, templates load, and probes run. Then
`releases.json` is replaced, the one pointer, and at once all functions are switched in one step of the event loop. So
whatever fails or ends the server before leaves the old release, and after that point nothing can fail.

What a release takes to be served stays in memory as long as the release is kept (`Deployments`), and the templates of
the release before stay loaded for `[deploy] keep_warm`. So a rollback reads no file and starts no interpreter: it is a
pointer, a switch, and forks. After a start, the releases that serve are loaded first; the others are read in the
background (`kept.py`), and then the templates of the release before are loaded (`warm.py`).

Deploys, rollbacks and reloads change what is served in turns, one after the other, each in a task of the server's. A
deploy has two: it reads its release in the first and switches to it in the second. What takes long, loading and
probing, is between them (`ahead.py`), as a rollback must not wait for it.
"""

import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple

import anyio
import anyio.to_thread
from anyio.lowlevel import checkpoint
from msgspec.structs import replace

from dispatcher.settings import Function
from forklight.config.problem import ConfigError
from forklight.config.runtimes import NotInstalled
from forklight.deploying.ahead import Deploy
from forklight.deploying.environments import install_deployed
from forklight.deploying.kept import read_kept
from forklight.deploying.progress import Progress, Report
from forklight.deploying.results import attempted, why
from forklight.deploying.warm import Warm
from forklight.packages.errors import MissingPackage, PackageError
from forklight.packages.room import is_full
from forklight.packages.store import PackageStore
from forklight.serving.deployment import ApplicationStatus, Deployed, Step
from forklight.serving.deployments import Deployments, Loaded, deployed_together, statuses
from forklight.serving.loading import bounds_of
from forklight.serving.reload import Reloader
from forklight.serving.reload import Step as Change
from forklight.state import releases
from forklight.state.directory import application_problem
from forklight.state.releases import NONE, Application, ReleaseError, write_releases

log = logging.getLogger(__name__)

QUIET_S = 1.0
"""How long nothing must have changed before what nothing needs is looked for."""
CLEAN_EVERY_S = 3600.0
"""How often packages are looked for that nothing needs: those that were just received are spared for as long."""


class _Release(NamedTuple):
    """What is to be served, in the application as it will be."""

    app: Application
    number: int
    loaded: Loaded


class Deployer:
    """Changes what is deployed. Every method waits for its turn, and goes on if the caller leaves."""

    def __init__(self, reloader: Reloader, say: Callable[[str], None]) -> None:
        """`say` gets a line for each change."""
        self._reloader = reloader
        self._say = say
        self._warm = Warm(lambda: self._reloader.running)
        reloader.running.dispatcher.machine.give_up = self._warm.give_up
        self._left: dict[str, int] = {}
        """By application, the release that was live before the latest change of that: a rollback may be taken back."""
        self.store: PackageStore = reloader.releases.store
        self._under_way: set[Deploy] = set()
        reloader.spared = lambda: {name for deploy in self._under_way for name in deploy.snapshots()}

    def applications(self) -> tuple[ApplicationStatus, ...]:
        """What is deployed, by name."""
        return statuses(self._reloader.deployed)

    async def deploy(
        self, application: str, package: str, *, by: str, canary_percent: float = 0, report: Report = lambda step: None
    ) -> Deployed:
        """Make a release of a package of the store, and serve it: all events, or so many per cent as a canary."""
        progress = Progress(report)
        deploy = Deploy(
            application, package, by=by, canary_percent=canary_percent, progress=progress, reloader=self._reloader
        )

        async def switch() -> Deployed:
            try:
                return await self._deploy(deploy)
            finally:
                self._end(deploy)

        async def prepare() -> Deployed:
            self._under_way.add(deploy)
            try:
                return await self._prepare(deploy)
            except BaseException:
                self._end(deploy)
                raise

        return await self._in_turn(
            application,
            progress,
            partial(self._or_discard, package, switch),
            ahead=partial(self._or_discard, package, prepare),
        )

    def _end(self, deploy: Deploy) -> None:
        deploy.release()
        self._under_way.discard(deploy)

    async def rollback(self, application: str, version: int | None, *, by: str) -> Deployed:
        """Serve a kept release again: this version, or else the one that was live before."""
        change = partial(releases.rolled_back, number=version)
        return await self._change(application, change, f"is live again (by {by})")

    async def promote(self, application: str, *, by: str) -> Deployed:
        """Serve the canary for all events."""
        return await self._change(application, releases.promoted, f"is live (by {by})")

    async def abort(self, application: str, *, by: str, reason: str = "") -> Deployed:
        """End the canary."""
        why = f"{reason} (by {by})" if by and reason else reason or f"by {by}"
        return await self._change(application, partial(releases.aborted, reason=why), f"serves alone again: {why}")

    async def alias(self, application: str, name: str, version: int | None) -> Deployed:
        """Let a name stand for a version, or remove it."""
        change = partial(releases.aliased, name=name, number=version)
        what = f"the alias {name} was removed" if version is None else f"{name} is version {version}"
        return await self._change(application, change, what, is_of_version=False)

    async def remove(self, application: str, *, by: str) -> Deployed:
        """Serve the application no more, and keep none of its releases. Its data and secrets stay."""
        return await self._change(application, releases.removed, f"was removed (by {by})")

    async def keep(self) -> None:
        """Keep rollbacks fast, after a start too, and remove what nothing needs."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._warm.keep_loaded)
            while True:
                changed = self._reloader.changed
                await read_kept(self._reloader)
                self._warm.hold(*self._to_hold(self._reloader.deployed))
                self._warm.tick()
                if await _is_set(changed, QUIET_S):
                    continue  # another change may follow at once, and would have to wait for its turn
                await self._reloader.in_turn(self._clean)
                await _is_set(changed, self._warm.due_s(CLEAN_EVERY_S))

    def _to_hold(self, now: Deployments) -> tuple[list[Function], float]:
        return now.before(self._left), now.base.config.settings.deploy.keep_warm_s

    async def _in_turn(
        self,
        application: str,
        progress: Progress,
        work: Callable[[], Awaitable[Deployed]],
        ahead: Callable[[], Awaitable[Deployed]] | None = None,
    ) -> Deployed:
        begun, state = Deployed(ok=True, application=application), self._reloader.running.state.path

        async def begin() -> None:
            nonlocal begun
            if ahead is not None:
                begun = await attempted(application, state, ahead)

        async def attempt() -> Deployed:
            found = await attempted(application, state, work) if begun.ok else begun
            if not found.ok:
                self._say(f"{application}: nothing was changed: {why(found)}")
            return replace(found, times_ms=progress.end())

        ending = Deployed(ok=False, application=application, error="the server is shutting down")
        found = await self._reloader.in_turn(attempt, ahead=begin)
        if found is None and progress.is_committed:  # the server ends while what was removed finishes
            return replace(self._done(application), times_ms=progress.end())
        return found or ending

    async def _prepare(self, deploy: Deploy) -> Deployed:
        """Do what a rollback need not wait for: it may change anything meanwhile."""
        done = Deployed(ok=True, application=deploy.application)
        await self._install(deploy.application, deploy.package, deploy.progress)

        async def read() -> Loaded | Exception | None:
            try:
                if (release := await self._read(deploy)) is None:
                    return None
                await deploy.hold(release.loaded)
            except Exception as error:
                return error
            return release.loaded

        found = await self._reloader.in_turn(read)
        if isinstance(found, Exception):
            raise found
        if found is not None:
            await deploy.load(found)
        return done

    async def _install(self, application: str, package: str, progress: Progress) -> None:
        """Make the environments that the release needs."""
        progress.begin(Step(step="checking"))
        if problem := application_problem(application):
            raise ReleaseError(problem)
        reloader = self._reloader
        base, state = reloader.deployed.base.config, reloader.running.state
        try:
            await anyio.to_thread.run_sync(reloader.releases.configuration, application, package, base)
        except NotInstalled as error:
            environments = error.environments
        except (ConfigError, PackageError):  # it will be found in our turn
            return
        else:
            return
        progress.begin(Step(step="installing", of=len(environments)))
        for one in environments:
            await anyio.to_thread.run_sync(install_deployed, [one], base.user, state)
            progress.done(one.runtime, len(environments))

    async def _or_discard(self, package: str, work: Callable[[], Awaitable[Deployed]]) -> Deployed:
        """Do a part of a deploy. If the disk is full, remove its package at once, unless something needs it."""
        try:
            return await work()
        except Exception as error:
            if is_full(error) and package not in self._reloader.deployed.packages():
                with suppress(PackageError):
                    await anyio.to_thread.run_sync(self.store.discard, package)
            raise

    async def _deploy(self, deploy: Deploy) -> Deployed:
        release = await self._read(deploy)
        if release is None:
            return self._done(deploy.application, already=True)
        app, number, loaded = release
        to = self._reloader.deployed.with_application(deploy.application, app)
        to = to.with_release((deploy.application, number), loaded)
        probe = partial(deploy.probe, loaded)
        found = await self._step(deploy.application, to, deploy.progress, may_wait=None, loaded_all=probe)
        told = "is live" if number == app.live else f"serves {deploy.canary_percent:g} % as a canary"
        return self._told(replace(found, notes=loaded.config.warnings), f"{told} (by {deploy.by})")

    async def _read(self, deploy: Deploy) -> _Release | None:
        """Read the release that comes of a deploy; None if it is served already. Only in one's turn."""
        application, package = deploy.application, deploy.package
        if not await anyio.to_thread.run_sync(self.store.has, package):
            raise MissingPackage(f"the package {package[:12]} is not here: upload it first")
        now = self._reloader.deployed
        app = now.applications.get(application, NONE)
        size_bytes = (await anyio.to_thread.run_sync(self.store.path(package).stat)).st_size
        after = releases.with_package(
            app, package, deploy.canary_percent, at=datetime.now(UTC), by=deploy.by, size_bytes=size_bytes
        )
        number = after.served[-1].number
        loaded = now.loaded.get((application, number))
        if after == app and loaded is not None:
            return None
        if loaded is None:
            loaded = await anyio.to_thread.run_sync(self._load, application, package, number == after.live)
        return _Release(releases.pruned(after, now.base.config.settings.deploy.keep_versions), number, loaded)

    def _load(self, application: str, package: str, is_live: bool) -> Loaded:
        reloader = self._reloader
        readings = reloader.running.readings if is_live else None
        return reloader.releases.load(application, package, reloader.deployed, reloader.running.served(), readings)

    async def _change(
        self, application: str, change: Callable[[Application], Application], told: str, *, is_of_version: bool = True
    ) -> Deployed:
        """Take a step of the application that needs no new release. `told`, for the log, is of what serves then."""
        progress = Progress(lambda step: None)

        async def work() -> Deployed:
            now = self._reloader.deployed
            app = now.applications.get(application, NONE)
            if app.live is None:
                known = ", ".join(name for name, one in now.applications.items() if one.live is not None)
                raise ReleaseError(f"there is no application {application!r}: there are {known or 'none'}")
            after = change(app)
            if after == app and all((application, one.number) in now.loaded for one in after.served):
                return self._done(application, already=True)
            after = releases.pruned(after, now.base.config.settings.deploy.keep_versions)
            to = now.with_application(application, after)
            for release in after.served:
                if (application, release.number) not in to.loaded:
                    progress.begin(Step(step="checking"))
                    loaded = await anyio.to_thread.run_sync(self._load, application, release.package, False)
                    to = to.with_release((application, release.number), loaded)
            found = await self._step(application, to, progress, may_wait=self._at_rest())
            if found.result is not None:  # why these functions were new in their release says nothing now
                found = replace(found, result=replace(found.result, because={}))
            return self._told(found, told, is_of_version=is_of_version)

        return await self._in_turn(application, progress, work)

    async def _step(
        self,
        application: str,
        to: Deployments,
        progress: Progress,
        *,
        may_wait: frozenset[str] | None,
        loaded_all: Callable[[], Awaitable[None]] = checkpoint,
    ) -> Deployed:
        """Serve `to`. With `may_wait`, its functions have served before, and need not be loaded to know that they can
        be; else those may wait of which the release says so."""
        together = deployed_together(to, last=application)
        waiting = _may_wait(to, application) if may_wait is None else may_wait
        loaded = progress.done
        if progress.has_begun("loading"):  # ahead: there is hardly anything left
            loaded = _unreported
        else:
            progress.begin(Step(step="loading"))
        was = self._reloader.deployed.applications.get(application, NONE).live

        async def commit() -> None:
            progress.begin(Step(step="switching"))
            await anyio.to_thread.run_sync(write_releases, self._reloader.running.state.path, to.applications)
            progress.is_committed = True
            if was is not None and was != to.applications[application].live:
                self._left[application] = was
            self._warm.hold(*self._to_hold(to))

        result = await self._reloader.step(
            Change(
                to=to,
                together=together,
                may_wait=waiting,
                loaded=loaded,
                loaded_all=loaded_all,
                commit=commit,
            )
        )
        self._warm.tick()
        return replace(self._done(application), result=result)

    def _done(self, application: str, *, already: bool = False) -> Deployed:
        """Return what is deployed now of this application."""
        app = self._reloader.deployed.applications[application]
        if app.live is None:
            return Deployed(ok=True, application=application, before=None)
        serving = app.served[-1]
        return Deployed(
            ok=True,
            application=application,
            version=serving.number,
            before=app.live if app.canary else app.before,
            package=serving.package,
            canary_percent=app.canary.percent if app.canary else 0,
            already=already,
        )

    def _told(self, done: Deployed, what: str, *, is_of_version: bool = True) -> Deployed:
        if not is_of_version:
            self._say(f"{done.application}: {what}")
        else:
            version = f": version {done.version}" if done.version else ""
            self._say(f"{done.application}{version} {what}")
        return done

    def _at_rest(self) -> frozenset[str]:
        """The functions that have no process now."""
        running = self._reloader.running
        runners = running.dispatcher.runners()
        return frozenset(name for name, one in runners.items() if not running.tree.has(one.function.spec))

    async def _clean(self) -> None:
        """Remove packages, unpacked folders and snapshots that nothing needs. What cannot be removed now, later can."""
        reloader = self._reloader
        self.store.bounds = bounds_of(reloader.deployed.base.config)
        try:
            await anyio.to_thread.run_sync(self.store.remove_unused, reloader.deployed.packages())
            await reloader.remove_unused()
        except (PackageError, OSError) as error:
            log.warning("what no release needs could not be removed: %s", error)


async def _is_set(event: anyio.Event, within_s: float) -> bool:
    with anyio.move_on_after(within_s):
        await event.wait()
    return event.is_set()


def _unreported(function: str, of: int) -> None:
    """For what has been reported before."""


def _may_wait(to: Deployments, application: str) -> frozenset[str]:
    """The functions of the live release that see no change and have no process."""
    live = to.live(application)
    return frozenset(name for name, one in live.versions.functions.items() if one.may_wait) if live else frozenset()
