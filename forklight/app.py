"""The composition root of `forklight serve`: it builds all parts, connects them, and ends them in order.

Start: state directory and its lock → code snapshots → journal → stores → process tree → dispatcher → bus → triggers →
admin. The listener opens before templates are loaded; they load in the background, two at a time, in the order in which
`serving/expected_use.py` expects them to be used. An event's own template is loaded at once, beside them.

Drain, on SIGTERM or SIGINT: the triggers accept nothing more and finish what they have within `drain`, the dispatcher
finishes what it accepted, then instances, templates and zygotes end, and the stores close last. A second signal ends
everything at once. SIGHUP reloads, unless the terminal was closed, which ends the server like SIGTERM.
"""

import contextlib
import gc
import logging
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from socket import socket
from typing import NamedTuple

import anyio
import anyio.abc
import anyio.to_thread
from msgspec import Struct

from bus.bus import Bus
from dispatcher.dispatcher import Dispatcher
from forklight.admin.server import Admin
from forklight.admin.tls import renewing_context
from forklight.config.configuration import Config
from forklight.config.queue import own_names
from forklight.deploying.canary import CanaryWatch, counts_from
from forklight.deploying.deploys import Deployer
from forklight.observe.journal import Format, Journal
from forklight.observe.kept.files import KeptFiles, remove_kept
from forklight.observe.kept.keeper import Keeper
from forklight.observe.observer import Observer
from forklight.observe.status import Reloaded, Usage
from forklight.packages.store import PackageStore
from forklight.serving.application import application_of
from forklight.serving.deployments import Deployments, Loaded, Together, deployed_together
from forklight.serving.expected_use import expected_use
from forklight.serving.isolation import account_of
from forklight.serving.loading import Releases, bounds_of, deployments_at_start
from forklight.serving.picture import printing_on_signal
from forklight.serving.pulling import absent_ahead, pull_ahead
from forklight.serving.reload import Reloader, label, limits_of
from forklight.serving.reloaded import ReloadResult, one_line
from forklight.serving.running import Running
from forklight.serving.sealing import remove_unused_copies
from forklight.serving.stores import open_stores
from forklight.serving.strays import Strays
from forklight.serving.systemd import Notifier
from forklight.serving.triggers import Triggers, run_triggers
from forklight.serving.versions import make_guest, make_versions, remove_unused
from forklight.serving.waiting import broker_urls, unless_ended, wait_for_brokers
from forklight.serving.watching import keep_reloading
from forklight.state.control_socket import socket_path
from forklight.state.directory import State, keys_path
from forklight.state.rehearsals import KeptPlans
from sandbox import cgroups
from sandbox.tree import Tree, open_tree
from triggers.http.server import HttpServer
from triggers.http.socket.bind import parse_listen

log = logging.getLogger(__name__)

GC_THRESHOLD = 2_000
"""New objects before the youngest generation is collected, which takes a millisecond for so many. Events that do not
wait leave none behind; the default of 700 would cost 5 % of the time of events that come in large bursts."""


class Options(Struct, frozen=True, kw_only=True):
    """What the command line decides.

    `ready` is called with everything that is served and the ports of HTTP and admin API once the server is ready,
    `report` with the result of each reload. `load` reads the configuration again.
    """

    render: Format
    quiet: bool = False
    dev: bool = False
    """Reload on each change of a file, and show failures to clients."""
    ended: Callable[[Usage, float], None]
    """Called after the drain with what was used and for how many seconds the server was up."""
    ready: Callable[[Config, int, int | None], None]
    load: Callable[[], Config]
    report: Callable[[ReloadResult], None]
    say: Callable[[str], None]
    """Gets a line for each change of what is deployed."""
    environ: Mapping[str, str]
    """What deployed applications may read, as far as `[deploy] env` says so."""
    given: socket | None = None
    """A listening socket to use instead of `[http] listen`."""
    notifier: Notifier


async def serve(config: Config, state: State, options: Options) -> None:
    """Serve until a signal ends it. Raises ConfigError, StoreError, HttpTriggerError or OSError before it is ready."""
    gc.set_threshold(GC_THRESHOLD, 20, 20)
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        if not await _code_is_there(config, signals):
            return
        prepared = await anyio.to_thread.run_sync(_prepare, config, state, options.environ)
        if await _brokers_are_there(config, options, signals):
            async with _open(prepared.together.config, state, options, prepared) as running:
                await _serve(running, prepared.releases, options, signals)


async def _code_is_there(config: Config, signals: AsyncIterator[signal.Signals]) -> bool:
    """Pull code from elsewhere. Return False if a signal ended that. Raises ConfigError."""
    if not absent_ahead(config):
        return True
    return await unless_ended(partial(anyio.to_thread.run_sync, pull_ahead, config), partial(_ended, signals))


async def _brokers_are_there(config: Config, options: Options, signals: AsyncIterator[signal.Signals]) -> bool:
    """Wait for the brokers. Return False if a signal ended the wait. Raises StoreError."""

    def report(what: str) -> None:
        log.warning("%s", what)
        options.notifier.waiting(what)

    urls = broker_urls(config.settings)
    if not urls:
        return True
    wait = partial(wait_for_brokers, urls, config.settings.bus.wait_s, report)
    return await unless_ended(wait, partial(_ended, signals))


async def _ended(signals: AsyncIterator[signal.Signals]) -> None:
    """Return when a signal ends the server, which has not started yet."""
    has_terminal = os.isatty(0)
    while await anext(signals) == signal.SIGHUP and not (has_terminal and not os.isatty(0)):
        pass


class _Prepared(NamedTuple):
    """What is read and made before anything runs. `order`: which functions are likely to be needed first."""

    deployments: Deployments
    together: Together
    releases: Releases
    guest: Path
    order: list[str]


def _prepare(config: Config, state: State, environ: Mapping[str, str]) -> _Prepared:
    """Take the snapshots, and remove old ones, which nothing can use yet. Raises ConfigError, ReleaseError."""
    releases = Releases(state, PackageStore(state.path, bounds_of(config)), environ)
    deployments = deployments_at_start(Loaded(config=config, versions=make_versions(config, state)), releases)
    together = deployed_together(deployments)
    guest = make_guest(together.config, state)
    if not deployments.missing():  # else this has to wait until they are loaded
        remove_unused(state, {guest.name, *(spec.code.name for spec in deployments.specs())})
        remove_unused_copies(state.path, deployments.specs())
    if not config.settings.log.keep_bytes:
        remove_kept(state.path)
    order = expected_use(together.config, state.path, datetime.now(UTC))
    return _Prepared(deployments, together, releases, guest, order)


def _start_keeper(config: Config, state: State, writing: anyio.abc.TaskGroup) -> Keeper | None:
    """Keep the log in the state directory, unless the configuration says not to."""
    keep_bytes = config.settings.log.keep_bytes
    if not keep_bytes:
        return None
    keeper = Keeper(KeptFiles(state.path, keep_bytes, time.time()))
    writing.start_soon(keeper.run)
    return keeper


def _open_tree(
    config: Config, state: State, guest: Path, journal: Journal
) -> contextlib.AbstractAsyncContextManager[Tree]:
    return open_tree(
        guest=guest,
        folders=state.tmp,
        sink=journal.line,
        account=account_of(config.user),
        plans=KeptPlans(state.rehearsals, only=config.functions),
        cgroups=cgroups.find(),
    )


@contextlib.asynccontextmanager
async def _open(
    config: Config,
    state: State,
    options: Options,
    prepared: _Prepared,
) -> AsyncIterator[Running]:
    """Build all parts. After the block they end in reverse order; whatever has not been drained is cancelled."""
    application = await anyio.to_thread.run_sync(application_of, prepared.deployments.base.config)
    async with anyio.create_task_group() as writing:
        keeper = _start_keeper(config, state, writing)
        keep = keeper.add if keeper is not None else None
        journal = Journal(options.render, 1, invocations=not options.quiet, keep=keep)
        writing.start_soon(journal.run)
        writing.start_soon(options.notifier.keep_alive)
        async with (
            open_stores(config.settings, state, application) as stores,
            _open_tree(config, state, prepared.guest, journal) as tree,
            anyio.create_task_group() as work,
        ):
            dispatcher = Dispatcher(prepared.together.functions, tree, work, limits_of(config), order=prepared.order)
            label(dispatcher, prepared.together)
            bus = Bus(stores.own, stores.brokers, frozenset(config.functions))
            bus.queues = own_names(config.queues)
            bus.attach(dispatcher)
            observer = Observer(journal, dispatcher.records, keeper)
            observer.subscribe_to(bus)
            keys = keys_path(state.path)
            try:
                async with run_triggers(
                    config, bus, stores.embedded, keys, given=options.given, dev=options.dev
                ) as triggers:
                    yield Running(
                        config=config,
                        state=state,
                        versions=prepared.together.versions,
                        deployments=prepared.deployments,
                        reloaded=Reloaded(at=(now := datetime.now(UTC)), succeeded_at=now),
                        guest=prepared.guest,
                        stores=stores,
                        tree=tree,
                        dispatcher=dispatcher,
                        bus=bus,
                        triggers=triggers,
                        strays=Strays(bus, stores.embedded),
                        observer=observer,
                    )
            finally:
                dispatcher.stop()
                work.cancel_scope.cancel()
        writing.cancel_scope.cancel()


async def _serve(
    running: Running, releases: Releases, options: Options, signals: AsyncIterator[signal.Signals]
) -> None:
    """Announce that it serves, wait for a signal, drain."""
    config, triggers, path = running.config, running.triggers, running.state.path
    has_terminal = os.isatty(0)
    async with contextlib.AsyncExitStack() as stack:
        tasks = await stack.enter_async_context(anyio.create_task_group())
        stack.enter_context(printing_on_signal(running))
        report = partial(_report, options, triggers.http)
        reloader = Reloader(running, load=options.load, releases=releases, tasks=tasks, report=report)
        deployer = Deployer(reloader, options.say)
        await running.strays.begin(config.queues)
        reloader.start_soon(partial(running.strays.keep, lambda: reloader.running.config.queues))
        reloader.start_soon(deployer.keep)
        reloader.start_soon(_watch_of_canaries(deployer, reloader).run)
        admin = Admin(lambda: reloader.running, reloader.reload, deployer)
        await stack.enter_async_context(admin.on_socket(socket_path(path)))
        admin_port = await _listen_admin(admin, config, stack)
        _settle_memory()
        options.ready(reloader.running.config, triggers.http.port, admin_port)
        options.notifier.ready()
        if options.dev:
            reloader.start_soon(partial(keep_reloading, reloader, path))
        while await anext(signals) == signal.SIGHUP and not (has_terminal and not os.isatty(0)):
            reloader.start_soon(reloader.reload)
        reloader.stop()
        options.notifier.stopping()
        limit_s = config.settings.http.drain_s
        async with anyio.create_task_group() as draining:
            draining.start_soon(_drain, triggers, running.dispatcher, limit_s, draining.cancel_scope)
            while await anext(signals) == signal.SIGHUP:
                pass
            draining.cancel_scope.cancel()
        options.ended(running.usage(), time.monotonic() - running.started_s)


def _watch_of_canaries(deployer: Deployer, reloader: Reloader) -> CanaryWatch:
    def is_on() -> bool:
        return reloader.deployed.base.config.settings.deploy.abort_canaries

    return CanaryWatch(deployer, partial(counts_from, reloader.running.dispatcher), is_on)


def _report(options: Options, http: HttpServer, result: ReloadResult) -> None:
    """Report the result of a reload. In `dev`, every answer mentions a failed one, and a quiet one is not reported."""
    problem = "" if result.ok else one_line(result)
    options.notifier.reloaded(problem)
    was_stale, http.stale = http.stale, problem if options.dev else ""
    if was_stale or not (options.dev and result.is_quiet):
        options.report(result)


def _settle_memory() -> None:
    """Exclude everything that exists now from collections. It stays, and events make no garbage with cycles."""
    gc.collect()
    gc.freeze()


async def _listen_admin(admin: Admin, config: Config, stack: contextlib.AsyncExitStack) -> int | None:
    settings = config.settings.admin
    if settings.listen is None:
        return None
    tls = None
    if settings.certificate is not None and settings.key is not None:
        tls = await anyio.to_thread.run_sync(renewing_context, settings.certificate, settings.key)
    return await stack.enter_async_context(admin.on_tcp(*parse_listen(settings.listen), tls))


async def _drain(triggers: Triggers, dispatcher: Dispatcher, limit_s: float, scope: anyio.CancelScope) -> None:
    """Drain the triggers, then the dispatcher, which runs their events; then cancel `scope`."""
    await triggers.drain(limit_s)
    await dispatcher.drain(limit_s)
    scope.cancel()
