"""Reload: read the configuration and the code again, and switch to them as a whole, or not at all.

Theory of operation. Everything that can fail comes first: the configuration is checked, snapshots are taken, templates
load and run their `init` hooks, new queues are consumed, timers are replaced. Then, with no pause between, functions
and routes are switched. What is left is to let go of the old: queues no longer consumed are drained, functions no
longer served finish what they accepted. Reloads take turns. One that was begun goes on if whoever asked for it leaves.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import anyio
import anyio.abc
import anyio.to_thread
from msgspec.structs import replace

from bus.store import StoreError
from dispatcher.change import Change, NotLoaded, load_all, open_change
from dispatcher.runner import Function
from forklight.config.configuration import Config
from forklight.config.problem import ConfigError
from forklight.config.queue import own_names
from forklight.serving.change import Told, failed, require_no_restart
from forklight.serving.running import Running
from forklight.serving.versions import make_versions, remove_unused
from forklight.state.directory import State
from triggers.http import RouteTable

log = logging.getLogger(__name__)

ENDING = Told(ok=False, error="the server is shutting down")


class Reloader:
    """Replaces `running`, the server as it is now."""

    def __init__(
        self,
        running: Running,
        *,
        load: Callable[[], Config],
        tasks: anyio.abc.TaskGroup,
        told: Callable[[Told], None],
    ) -> None:
        """`load` reads the configuration again: it blocks, and raises ConfigError. `told` is called with what became
        of each reload."""
        self.running = running
        self._load = load
        self._tasks = tasks
        self._told = told
        self._turn = anyio.Lock()
        self._scopes: set[anyio.CancelScope] = set()
        """One for each task of ours."""
        self._is_stopped = False

    async def reload(self) -> Told:
        """Reload now, and wait for what becomes of it."""
        return await self._wait_for(self._change)

    async def probe(self) -> Told:
        """Load every function that is served now, only to see whether it loads."""
        return await self._wait_for(self._probe)

    def start_soon(self, work: Callable[[], Awaitable[object]]) -> None:
        """Run this, as `reload` or what calls it again and again, until it ends or is stopped."""
        if not self._is_stopped:
            self._tasks.start_soon(self._run, work)

    def stop(self) -> None:
        """Reload no more, as the server drains from here on; what was begun is cut."""
        self._is_stopped = True
        self.running = replace(self.running, draining=True)
        for scope in self._scopes:
            scope.cancel()

    async def _run(self, work: Callable[[], Awaitable[object]]) -> None:
        with anyio.CancelScope() as scope:
            self._scopes.add(scope)
            try:
                await work()
            finally:
                self._scopes.discard(scope)

    async def _wait_for(self, work: Callable[[], Awaitable[Told]]) -> Told:
        """In a task of our own: whoever waits may leave."""
        found: list[Told] = []
        done = anyio.Event()

        async def run() -> None:
            try:
                async with self._turn:
                    found.append(await _attempted(work))
                    self._told(found[0])
            finally:
                done.set()

        if self._is_stopped:
            return ENDING
        self.start_soon(run)
        await done.wait()
        return found[0] if found else ENDING

    async def _probe(self) -> Told:
        runners = self.running.dispatcher.runners().values()
        errors = await load_all(self.running.tree, [runner.function.spec for runner in runners])
        if errors:
            raise NotLoaded(errors)
        return Told(ok=True)

    async def _change(self) -> Told:
        running, warned = self.running, self.running.config.warnings
        try:
            config, functions = await anyio.to_thread.run_sync(self._prepare)
            async with open_change(running.dispatcher, running.tree, functions) as change:
                await self._switch(config, change)
            return Told(
                ok=True,
                changed=tuple(change.changed),
                added=tuple(change.added),
                removed=tuple(change.removed),
                warnings=tuple(warning for warning in config.warnings if warning not in warned),
            )
        finally:
            current = {runner.function.spec.version for runner in running.dispatcher.runners().values()}
            keep = {running.guest.name, *current, *running.tree.versions()}
            await anyio.to_thread.run_sync(remove_unused, running.state, keep)

    def _prepare(self) -> tuple[Config, dict[str, Function]]:
        config = self._load()
        require_no_restart(self.running.config, config)
        runners = self.running.dispatcher.runners()
        earlier = {name: runner.function.spec.code for name, runner in runners.items()}
        return config, make_functions(config, self.running.state, earlier)

    async def _switch(self, config: Config, change: Change) -> None:
        running, triggers, before = self.running, self.running.triggers, self.running.config
        change.add()
        await triggers.begin(config.queues)
        try:
            await triggers.timers.replace(config.timers)
        except StoreError:
            await triggers.keep_only(before.queues, 0)
            raise
        change.switch()
        triggers.http.routes = RouteTable(config.routes, config.settings.http.static)
        running.bus.functions, running.bus.queues = frozenset(config.functions), own_names(config.queues)
        self.running = replace(running, config=config)
        await triggers.keep_only(config.queues, config.settings.http.drain_s)
        change.remove()


async def _attempted(work: Callable[[], Awaitable[Told]]) -> Told:
    try:
        return await work()
    except (ConfigError, NotLoaded, StoreError, OSError) as error:
        return failed(error)
    except Exception as error:  # the server must outlive a reload that breaks
        log.exception("a reload failed")
        return failed(error)


def make_functions(
    config: Config, state: State, earlier: Mapping[str, Path] = MappingProxyType({})
) -> dict[str, Function]:
    """Each function's current version and its pool; `earlier` as for `make_versions`. Blocks. Raises ConfigError."""
    specs = make_versions(config, state, earlier)
    return {name: Function(spec=spec, pool=config.functions[name].pool) for name, spec in specs.items()}
