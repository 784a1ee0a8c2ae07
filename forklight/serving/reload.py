"""Reload: read the configuration and the code again, and switch to them completely, or not at all.

Theory of operation. Everything that can fail comes first: the configuration is checked, snapshots are taken, templates
load and run their `init` hooks, new queues are consumed, timers are replaced. Then functions and routes are switched,
without a pause in between. Finally the old is removed: queues that are no longer consumed are drained, and removed
functions finish what they accepted. Reloads run one after the other. A reload continues if its caller leaves.
"""

import logging
from collections.abc import Awaitable, Callable, Set
from datetime import UTC, datetime
from functools import partial

import anyio
import anyio.abc
import anyio.to_thread
from msgspec.structs import replace

from bus.store import StoreError
from dispatcher.budget import Limits
from dispatcher.change import Change, NotLoaded, load_all, open_change
from dispatcher.settings import Function
from forklight.config.configuration import Config
from forklight.config.problem import ConfigError
from forklight.config.queue import own_names
from forklight.observe.status import Reloaded
from forklight.plain import plain
from forklight.serving.change import ReloadResult, failed, one_line, require_no_restart
from forklight.serving.renewal import Served
from forklight.serving.running import Running
from forklight.serving.versions import Versions, make_versions, remove_unused
from sandbox import hardware
from triggers.http import RouteTable

log = logging.getLogger(__name__)

FORKS_PER_CORE = 4
"""Forks in flight. One takes half its time in the template, and the rest in the server and in the new instance."""
ENDING = ReloadResult(ok=False, error="the server is shutting down")


class Reloader:
    """Replaces `running`, the server as it is now."""

    def __init__(
        self,
        running: Running,
        *,
        load: Callable[[], Config],
        tasks: anyio.abc.TaskGroup,
        report: Callable[[ReloadResult], None],
    ) -> None:
        """`load` reads the configuration again: it blocks, and raises ConfigError. `report` gets the result of each
        reload."""
        self.running = running
        self._load = load
        self._tasks = tasks
        self._report = report
        self._turn = anyio.Lock()
        self._scopes: set[anyio.CancelScope] = set()
        """One for each of our tasks."""
        self._is_stopped = False

    async def reload(self, *, renew_all: bool = False) -> ReloadResult:
        """Reload now, and wait for the result. With `renew_all`, also functions that do not use what changed."""
        return await self._wait_for(partial(self._reload, renew_all))

    async def probe(self) -> ReloadResult:
        """Load every present function, only to check whether it loads."""
        return await self._wait_for(self._probe)

    def start_soon(self, work: Callable[[], Awaitable[object]]) -> None:
        """Run `work` (`reload`, or something that calls it repeatedly) until it ends or `stop` is called."""
        if not self._is_stopped:
            self._tasks.start_soon(self._run, work)

    def stop(self) -> None:
        """Allow no more reloads, because the server drains from now on, and cancel those in progress."""
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

    async def _wait_for(self, work: Callable[[], Awaitable[ReloadResult]]) -> ReloadResult:
        """Do the work in a task of ours, so that the caller may leave."""
        found: list[ReloadResult] = []
        done = anyio.Event()

        async def run() -> None:
            try:
                async with self._turn:
                    found.append(await _attempted(work))
                    self._report(found[0])
            finally:
                done.set()

        if self._is_stopped:
            return ENDING
        self.start_soon(run)
        await done.wait()
        return found[0] if found else ENDING

    async def _probe(self) -> ReloadResult:
        runners = self.running.dispatcher.runners()
        errors = await load_all(self.running.tree, {name: runner.function.spec for name, runner in runners.items()})
        if errors:
            raise NotLoaded(errors)
        return ReloadResult(ok=True)

    async def _reload(self, renew_all: bool) -> ReloadResult:
        result = await _attempted(partial(self._change, renew_all))
        now = datetime.now(UTC)
        succeeded_at = now if result.ok else self.running.reloaded.succeeded_at
        problem = "" if result.ok else one_line(result)
        latest = Reloaded(ok=result.ok, at=now, succeeded_at=succeeded_at, problem=problem)
        self.running = replace(self.running, reloaded=latest)
        return result

    async def _change(self, renew_all: bool) -> ReloadResult:
        running, warned = self.running, self.running.config.warnings
        try:
            config, versions = await anyio.to_thread.run_sync(self._prepare, running.served(), renew_all)
            functions = functions_of(config, versions)
            may_wait = {name for name, version in versions.functions.items() if version.may_wait}
            async with open_change(running.dispatcher, running.tree, functions, may_wait=may_wait) as change:
                await self._switch(config, versions, change)
            changed = tuple(name for name in change.changed if name not in may_wait)
            return ReloadResult(
                ok=True,
                changed=changed,
                added=tuple(change.added),
                removed=tuple(change.removed),
                kept=_kept(running, config, versions, {*changed, *change.added}),
                because={name: plain(why) for name in changed if (why := versions.functions[name].why)},
                warnings=tuple(warning for warning in config.warnings if warning not in warned),
            )
        finally:
            current = {runner.function.spec.code.name for runner in running.dispatcher.runners().values()}
            keep = {running.guest.name, *current, *(code.name for code in running.tree.snapshots())}
            await anyio.to_thread.run_sync(remove_unused, running.state, keep)

    def _prepare(self, served: dict[str, Served], renew_all: bool) -> tuple[Config, Versions]:
        config = self._load()
        require_no_restart(self.running.config, config)
        return config, make_versions(config, self.running.state, served, None if renew_all else self.running.readings)

    async def _switch(self, config: Config, versions: Versions, change: Change) -> None:
        running, triggers, before = self.running, self.running.triggers, self.running.config
        change.add()
        await triggers.begin(config.queues)
        try:
            await triggers.timers.replace(config.timers)
        except StoreError:
            await triggers.keep_only(before.queues, 0)
            raise
        change.switch()
        running.dispatcher.machine.resize(limits_of(config))
        triggers.http.routes = RouteTable(config.routes, config.settings.http.static)
        running.bus.functions, running.bus.queues = frozenset(config.functions), own_names(config.queues)
        self.running = replace(self.running, config=config, versions=versions)  # a drain may have begun meanwhile
        await triggers.keep_only(config.queues, config.settings.http.drain_s)
        change.remove()


async def _attempted(work: Callable[[], Awaitable[ReloadResult]]) -> ReloadResult:
    try:
        return await work()
    except (ConfigError, NotLoaded, StoreError, OSError) as error:
        return failed(error)
    except Exception as error:  # a bug in a reload must not end the server
        log.exception("a reload failed")
        return failed(error)


def _kept(running: Running, config: Config, versions: Versions, new: Set[str]) -> tuple[str, ...]:
    """The functions that are not loaded again, of those whose code differs from what was last read."""
    before = running.versions.code
    stayed = config.functions.keys() - new
    return tuple(
        sorted(name for name in stayed if before.get(code := config.functions[name].code) != versions.code[code])
    )


def functions_of(config: Config, versions: Versions) -> dict[str, Function]:
    """Return each function's version and pool."""
    return {name: Function(spec=spec, pool=config.functions[name].pool) for name, spec in versions.specs.items()}


def limits_of(config: Config) -> Limits:
    """Return what all functions may hold together."""
    machine, cores = config.settings.machine, hardware.cores()
    return Limits(
        memory_bytes=machine.memory.size_bytes(hardware.memory_bytes()),
        max_instances=machine.max_instances,
        loads=cores,
        forks=FORKS_PER_CORE * cores,
    )
