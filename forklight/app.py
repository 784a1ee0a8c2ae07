"""The composition root of `forklight serve`: builds every part, gives each what it needs, and ends them in order.

Start: state directory and its lock → code snapshots → journal → stores → process tree → dispatcher → bus → triggers →
admin. The listener is open before templates are loaded; they load in the background, two at a time.

Drain, at SIGTERM or SIGINT: the triggers take nothing more and finish what they have within `drain`, the dispatcher
finishes what it accepted, then instances, templates and zygotes end, and the stores close last. A second signal ends
everything at once.
"""

import contextlib
import gc
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import anyio
import anyio.abc
import anyio.to_thread
from msgspec import Struct

from bus.bus import Bus
from bus.message import inbox
from dispatcher.dispatcher import Dispatcher
from dispatcher.runner import Function
from forklight import metrics, queue
from forklight.admin import Admin, Controls
from forklight.config import Config
from forklight.control_socket import socket_path
from forklight.here import account_of
from forklight.http import told
from forklight.journal import Format, Journal
from forklight.state import State
from forklight.status import Status, function_statuses
from forklight.stores import Stores, open_stores
from forklight.tally import Tally
from forklight.triggers import Triggers, run_triggers
from forklight.versions import make_guest, make_versions, remove_unused
from sandbox import isolation
from sandbox.tree import Tree, open_tree
from triggers.http.listen import parse_listen

GC_THRESHOLD = 20_000
"""New objects until the youngest are looked at: the default, every 700, costs an event a twentieth of its time."""


class Options(Struct, frozen=True, kw_only=True):
    """What the command line decides. `ready` is called once everything is, with the HTTP port and the admin's."""

    render: Format
    quiet: bool = False
    ready: Callable[[int, int | None], None]


class App:
    """The running parts, for whoever asks about them."""

    def __init__(self, config: Config, tree: Tree, dispatcher: Dispatcher) -> None:
        self.draining = False
        self._tree = tree
        self._dispatcher = dispatcher
        self._started_s = time.monotonic()
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

    def metrics(self) -> bytes:
        """The answer to a scrape."""
        return metrics.render(self._dispatcher, self.status().functions)


def _told_triggers(config: Config, name: str) -> Iterator[str]:
    yield from (f"http {told(route)}" for route in config.routes if route.function == name)
    queues = (trigger for trigger in config.queues if trigger.function == name and trigger.queue != inbox(name))
    yield from (f"queue {queue.told(trigger)}" for trigger in queues)
    yield from (f"timer {timer.schedule.text}" for timer in config.timers if timer.function == name)


class _Parts(Struct, frozen=True):
    app: App
    dispatcher: Dispatcher
    journal: Journal
    stores: Stores


async def serve(config: Config, state: State, options: Options) -> None:
    """Serve until a signal has been obeyed. Before it is ready: ConfigError, StoreError, HttpTriggerError, OSError."""
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        functions, guest = await anyio.to_thread.run_sync(_prepare, config, state)
        journal = Journal(options.render, 1, invocations=not options.quiet)
        async with anyio.create_task_group() as writing:
            writing.start_soon(journal.run)
            account = account_of(config.user)
            async with (
                open_stores(config.settings, state) as stores,
                open_tree(guest=guest, folders=state.tmp, sink=journal.line, account=account) as tree,
                anyio.create_task_group() as work,
            ):
                dispatcher = Dispatcher(functions, tree, work)
                parts = _Parts(App(config, tree, dispatcher), dispatcher, journal, stores)
                try:
                    await _serve(config, state, options, parts, signals)
                finally:
                    dispatcher.stop()
                    work.cancel_scope.cancel()
            writing.cancel_scope.cancel()


def _prepare(config: Config, state: State) -> tuple[dict[str, Function], Path]:
    """Take the snapshots and drop those of versions that are not current. Nothing runs yet that could use them."""
    specs = make_versions(config, state)
    guest = make_guest(config, state)
    remove_unused(state, {guest.name, *(spec.version for spec in specs.values())})
    functions = {name: Function(spec=spec, pool=config.functions[name].pool) for name, spec in specs.items()}
    return functions, guest


async def _serve(
    config: Config, state: State, options: Options, parts: "_Parts", signals: AsyncIterator[signal.Signals]
) -> None:
    """Run the triggers, wait for a signal, drain."""
    bus = Bus(parts.stores.own, parts.stores.brokers, frozenset(config.functions))
    bus.attach(parts.dispatcher)
    tally = Tally(parts.journal)
    async with contextlib.AsyncExitStack() as stack:
        running = run_triggers(config, bus, parts.stores.facts, parts.journal, tally)
        triggers = await stack.enter_async_context(running)
        admin = Admin(parts.app.status, parts.app.metrics, parts.journal, _controls(config, bus, triggers, tally))
        await stack.enter_async_context(admin.on_socket(socket_path(state.path)))
        admin_port = await _listen_admin(admin, config, stack)
        _settle_memory()
        options.ready(triggers.http.port, admin_port)
        await anext(signals)
        parts.app.draining = True
        async with anyio.create_task_group() as draining:
            draining.start_soon(_drain, triggers, parts.dispatcher, config.settings.http.drain_s, draining.cancel_scope)
            await anext(signals)
            draining.cancel_scope.cancel()


def _settle_memory() -> None:
    """What is there now stays: collections need not look at it again, and events make garbage that has no cycles."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, 20, 20)


def _controls(config: Config, bus: Bus, triggers: Triggers, tally: Tally) -> Controls:
    return Controls(
        bus=bus,
        functions=frozenset(config.functions),
        brokers=frozenset(map(str, config.settings.brokers)),
        triggers=config.queues,
        timers=config.timers,
        runner=triggers.timers,
        tally=tally,
    )


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
