"""The composition root of `forklight serve`: builds every part, gives each what it needs, and ends them in order.

Start: state directory and its lock → code snapshots → journal → stores → process tree → dispatcher → bus → triggers →
admin. The listener is open before templates are loaded; they load in the background, two at a time.

Drain, at SIGTERM or SIGINT: the triggers take nothing more and finish what they have within `drain`, the dispatcher
finishes what it accepted, then instances, templates and zygotes end, and the stores close last. A second signal ends
everything at once. SIGHUP reloads, unless it says that the terminal is gone, which ends the server like SIGTERM.
"""

import contextlib
import gc
import logging
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path
from socket import socket

import anyio
import anyio.abc
import anyio.to_thread
from msgspec import Struct

from bus.bus import Bus
from bus.message import inbox
from dispatcher.dispatcher import Dispatcher
from dispatcher.runner import Function
from forklight.admin.controls import Controls
from forklight.admin.server import Admin
from forklight.config import queue
from forklight.config.configuration import Config
from forklight.config.http import told
from forklight.observe.function_status import function_statuses
from forklight.observe.journal import Format, Journal
from forklight.observe.observer import Observer
from forklight.observe.status import Status
from forklight.serving.application import application_of
from forklight.serving.change import Told, one_line
from forklight.serving.once import account_of
from forklight.serving.picture import printing_on_signal
from forklight.serving.reload import Reloader, Serving, make_functions
from forklight.serving.stores import Stores, open_stores
from forklight.serving.strays import Strays
from forklight.serving.systemd import Notifier
from forklight.serving.triggers import Outside, Triggers, run_triggers
from forklight.serving.versions import make_guest, remove_unused
from forklight.serving.waiting import broker_urls, unless_ended, wait_for_brokers
from forklight.serving.watching import keep_reloading
from forklight.state.control_socket import socket_path
from forklight.state.directory import State, keys_path
from sandbox import isolation
from sandbox.tree import Tree, open_tree
from triggers.http.socket.listen import parse_listen

log = logging.getLogger(__name__)

GC_THRESHOLD = 20_000
"""New objects until the youngest are looked at: the default, every 700, costs an event a twentieth of its time."""


class Options(Struct, frozen=True, kw_only=True):
    """What the command line decides. `ready` is called once everything is, with the HTTP port and the admin's; `load`
    reads the configuration again, and `told` is called with what became of each reload.
    """

    render: Format
    quiet: bool = False
    dev: bool = False
    """Reload on each change of a file, and show clients what failed."""
    ready: Callable[[int, int | None], None]
    load: Callable[[], Config]
    told: Callable[[Told], None]
    given: socket | None = None
    """A listening socket to use instead of `[http] listen`."""
    notifier: Notifier


class App:
    """The running parts, for whoever asks about them."""

    def __init__(self, config: Config, tree: Tree, dispatcher: Dispatcher) -> None:
        self.draining = False
        self._tree = tree
        self._dispatcher = dispatcher
        self._started_s = time.monotonic()
        self.adopt(config)

    def adopt(self, config: Config) -> None:
        """Tell of this configuration from here on."""
        self._triggers = {name: tuple(_told_triggers(config, name)) for name in config.functions}

    def status(self) -> Status:
        """The answer to `ps`."""
        return Status(
            pid=os.getpid(),
            uptime_s=time.monotonic() - self._started_s,
            draining=self.draining,
            isolation=isolation.current(as_root=os.getuid() == 0),
            zygotes_kb=sum(zygote.rss_kb for zygote in self._tree.zygotes()),
            functions=function_statuses(self._dispatcher, self._tree, self._triggers),
        )


def _told_triggers(config: Config, name: str) -> Iterator[str]:
    yield from (f"http {told(route)}" for route in config.routes if route.function == name)
    queues = (trigger for trigger in config.queues if trigger.function == name and trigger.queue != inbox(name))
    yield from (f"queue {queue.told(trigger)}" for trigger in queues)
    yield from (f"timer {timer.schedule.text}" for timer in config.timers if timer.function == name)


class _Parts(Struct, frozen=True, kw_only=True):
    config: Config
    """As it was at the start."""
    state: State
    options: Options
    app: App
    guest: Path
    tree: Tree
    dispatcher: Dispatcher
    journal: Journal
    stores: Stores


async def serve(config: Config, state: State, options: Options) -> None:
    """Serve until a signal has been obeyed. Before it is ready: ConfigError, StoreError, HttpTriggerError, OSError."""
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        functions, guest = await anyio.to_thread.run_sync(_prepare, config, state)
        application = await anyio.to_thread.run_sync(application_of, config)
        if not await _brokers_are_there(config, options, signals):
            return
        journal = Journal(options.render, 1, invocations=not options.quiet)
        async with anyio.create_task_group() as writing:
            writing.start_soon(journal.run)
            writing.start_soon(options.notifier.keep_alive)
            account = account_of(config.user)
            async with (
                open_stores(config.settings, state, application) as stores,
                open_tree(guest=guest, folders=state.tmp, sink=journal.line, account=account) as tree,
                anyio.create_task_group() as work,
            ):
                dispatcher = Dispatcher(functions, tree, work)
                parts = _Parts(
                    config=config,
                    state=state,
                    options=options,
                    app=App(config, tree, dispatcher),
                    guest=guest,
                    tree=tree,
                    dispatcher=dispatcher,
                    journal=journal,
                    stores=stores,
                )
                try:
                    await _serve(parts, signals)
                finally:
                    dispatcher.stop()
                    work.cancel_scope.cancel()
            writing.cancel_scope.cancel()


async def _brokers_are_there(config: Config, options: Options, signals: AsyncIterator[signal.Signals]) -> bool:
    """False: a signal ended the server while it waited. Raises StoreError."""

    def told(what: str) -> None:
        log.warning("%s", what)
        options.notifier.waiting(what)

    async def ended() -> None:
        while await anext(signals) == signal.SIGHUP and not (has_terminal and not os.isatty(0)):
            pass

    urls, has_terminal = broker_urls(config.settings), os.isatty(0)
    if not urls:
        return True
    return await unless_ended(partial(wait_for_brokers, urls, config.settings.bus.wait_s, told), ended)


def _prepare(config: Config, state: State) -> tuple[dict[str, Function], Path]:
    """Take the snapshots and drop those of versions that are not current. Nothing runs yet that could use them."""
    functions = make_functions(config, state)
    guest = make_guest(config, state)
    remove_unused(state, {guest.name, *(function.spec.version for function in functions.values())})
    return functions, guest


async def _serve(parts: "_Parts", signals: AsyncIterator[signal.Signals]) -> None:
    """Run the triggers, wait for a signal, drain."""
    config, options = parts.config, parts.options
    bus = Bus(parts.stores.own, parts.stores.brokers, frozenset(config.functions))
    bus.queues = queue.own_names(config.queues)
    bus.attach(parts.dispatcher)
    observer = Observer(parts.journal, parts.dispatcher.records)
    observer.subscribe_to(bus)
    has_terminal = os.isatty(0)
    async with contextlib.AsyncExitStack() as stack:
        outside = Outside(given=options.given, keys=keys_path(parts.state.path))
        running = run_triggers(config, bus, parts.stores.embedded, outside=outside, dev=options.dev)
        triggers = await stack.enter_async_context(running)
        reloading = await stack.enter_async_context(anyio.create_task_group())
        stack.enter_context(printing_on_signal(parts.tree, parts.dispatcher, triggers))
        reloader, controls = _controls(parts, bus, triggers, reloading)
        await controls.strays.begin(config.queues)
        reloader.start_soon(partial(controls.strays.keep, lambda: controls.triggers))
        admin = Admin(parts.app.status, observer, controls)
        await stack.enter_async_context(admin.on_socket(socket_path(parts.state.path)))
        admin_port = await _listen_admin(admin, config, stack)
        _settle_memory()
        options.ready(triggers.http.port, admin_port)
        options.notifier.ready()
        if options.dev:
            reloader.start_soon(partial(keep_reloading, reloader, parts.state.path))
        while await anext(signals) == signal.SIGHUP and not (has_terminal and not os.isatty(0)):
            reloader.start_soon(reloader.reload)
        reloader.stop()
        options.notifier.stopping()
        parts.app.draining = True
        async with anyio.create_task_group() as draining:
            draining.start_soon(_drain, triggers, parts.dispatcher, config.settings.http.drain_s, draining.cancel_scope)
            while await anext(signals) == signal.SIGHUP:
                pass
            draining.cancel_scope.cancel()


def _settle_memory() -> None:
    """What is there now stays: collections need not look at it again, and events make garbage that has no cycles."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, 20, 20)


def _controls(parts: "_Parts", bus: Bus, triggers: Triggers, tasks: anyio.abc.TaskGroup) -> tuple[Reloader, Controls]:
    """What reloads, and what the admin acts on: each knows the other."""
    config, options = parts.config, parts.options

    def on_switch(config: Config) -> None:
        parts.app.adopt(config)
        bus.functions = controls.functions = frozenset(config.functions)
        bus.queues = queue.own_names(config.queues)
        controls.triggers, controls.timers = config.queues, config.timers

    def told(told: Told) -> None:
        was_stale, triggers.http.stale = triggers.http.stale, one_line(told) if options.dev and not told.ok else ""
        if was_stale or not (options.dev and told.is_quiet):
            options.told(told)

    serving = Serving(
        state=parts.state,
        guest=parts.guest,
        tree=parts.tree,
        dispatcher=parts.dispatcher,
        triggers=triggers,
        on_switch=on_switch,
    )
    reloader = Reloader(serving, config, load=options.load, tasks=tasks, told=told)
    controls = Controls(
        bus=bus,
        embedded=parts.stores.embedded,
        strays=Strays(bus, parts.stores.embedded),
        functions=frozenset(config.functions),
        runners=parts.dispatcher.runners,
        brokers=frozenset(map(str, config.settings.brokers)),
        triggers=config.queues,
        timers=config.timers,
        runner=triggers.timers,
        reload=reloader.reload,
    )
    return reloader, controls


async def _listen_admin(admin: Admin, config: Config, stack: contextlib.AsyncExitStack) -> int | None:
    listen = config.settings.admin.listen
    if listen is None:
        return None
    return await stack.enter_async_context(admin.on_tcp(*parse_listen(listen)))


async def _drain(triggers: Triggers, dispatcher: Dispatcher, limit_s: float, scope: anyio.CancelScope) -> None:
    """Finish what was accepted, the triggers first, as theirs is what the dispatcher runs; then end the wait."""
    await triggers.drain(limit_s)
    await dispatcher.drain(limit_s)
    scope.cancel()
