"""Reload: read the configuration and the code again, and switch to them completely, or not at all.

Theory of operation. Everything that can fail comes first: the configuration is checked, snapshots are taken, templates
load and run their `init` hooks, new queues are consumed, timers are replaced. Then functions and routes are switched,
without a pause in between. Finally the old is removed: queues that are no longer consumed are drained, and removed
functions finish what they accepted. Reloads run one after the other. A reload continues if its caller leaves.
"""

import logging
from collections.abc import Awaitable, Callable, Iterable, Set
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar

import anyio
import anyio.abc
import anyio.to_thread
from anyio.lowlevel import checkpoint
from msgspec import Struct
from msgspec.structs import replace

from bus.store import StoreError
from dispatcher.budget import Limits
from dispatcher.change import Change, NotLoaded, load_all, open_change
from dispatcher.dispatcher import Dispatcher
from dispatcher.settings import Function
from dispatcher.split import AT
from forklight.config.configuration import Config
from forklight.config.problem import ConfigError
from forklight.config.queue import own_names
from forklight.observe.status import Reloaded
from forklight.plain import plain
from forklight.serving.change import failed, require_no_restart
from forklight.serving.deployments import Deployments, Loaded, Together, deployed_together
from forklight.serving.loading import Releases, reloaded
from forklight.serving.reloaded import ReloadResult, one_line
from forklight.serving.renewal import Served
from forklight.serving.running import Running
from forklight.serving.versions import Versions, complete_guest, make_versions, new_pythons, remove_unused
from sandbox import hardware
from triggers.http import RouteTable

log = logging.getLogger(__name__)

FORKS_PER_CORE = 4
"""Forks in flight. One takes half its time in the template, and the rest in the server and in the new instance."""
T = TypeVar("T")

ENDING = ReloadResult(ok=False, error="the server is shutting down")


class Step(Struct, frozen=True, kw_only=True):
    """How to get from what is served to `to`."""

    to: Deployments
    together: Together
    may_wait: frozenset[str] = frozenset()
    """Functions that are not loaded before they are served."""
    loaded: Callable[[str, int], None] = lambda name, of: None
    """Is called for each function that was loaded, and with how many there are to load."""
    loaded_all: Callable[[], Awaitable[None]] = checkpoint
    """What else has to go well before the switch."""
    commit: Callable[[], Awaitable[None]] = checkpoint
    """The last thing that can fail. After it, the switch follows."""


class Reloader:
    """Replaces `running`, the server as it is now."""

    def __init__(
        self,
        running: Running,
        *,
        load: Callable[[], Config],
        releases: Releases,
        tasks: anyio.abc.TaskGroup,
        report: Callable[[ReloadResult], None],
    ) -> None:
        """`load` reads the base configuration again: it blocks, and raises ConfigError. `report` gets the result of
        each reload."""
        self.running = running
        self.releases = releases
        running.dispatcher.summon, running.dispatcher.number_of = self._variant, self._number_of
        running.dispatcher.absence = self._absence
        self._load = load
        self._tasks = tasks
        self._report = report
        self._turn = anyio.Lock()
        self._scopes: set[anyio.CancelScope] = set()
        """One for each of our tasks."""
        self._is_stopped = False
        self.spared: Callable[[], Set[str]] = frozenset
        """Gives the names of snapshots that deploys under way need."""
        self.changed = anyio.Event()
        """Set when something else is served; then there is another event for the next time."""

    @property
    def deployed(self) -> Deployments:
        """What is deployed now."""
        return self.running.deployments

    @deployed.setter
    def deployed(self, now: Deployments) -> None:
        """More of it was loaded; what is served stays the same."""
        self.running = replace(self.running, deployments=now)

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

    async def in_turn(
        self, work: Callable[[], Awaitable[T]], *, ahead: Callable[[], Awaitable[None]] = checkpoint
    ) -> T | None:
        """Do the work in a task of ours, when its turn has come. It goes on if the caller leaves.

        `ahead` is done before, in no order. Returns None if the server ends before the work does.
        """
        found: list[T] = []
        done = anyio.Event()

        async def run() -> None:
            try:
                await ahead()
                async with self._turn:
                    found.append(await work())
            finally:
                done.set()

        if self._is_stopped:
            return None
        self.start_soon(run)
        await done.wait()
        return found[0] if found else None

    async def step(self, step: Step) -> ReloadResult:
        """Serve something else, completely or not at all. Only in one's turn.

        Raises ConfigError, NotLoaded, StoreError and OSError; then nothing has changed.
        """
        running, together = self.running, step.together
        before, warned = running.config, running.config.warnings
        await self.complete_guest(together.config)
        async with open_change(
            running.dispatcher, running.tree, together.functions, may_wait=step.may_wait, loaded=step.loaded
        ) as change:
            await step.loaded_all()
            await self._switch(step, change)
        changed = _functions(name for name in change.changed if name not in step.may_wait)
        versions = together.versions
        return ReloadResult(
            ok=True,
            changed=changed,
            added=_functions(change.added),
            removed=_functions(change.removed),
            kept=_kept(before, running.versions, together, {*change.changed, *change.added}),
            because={name: plain(why) for name in changed if (why := versions.functions[name].why)},
            warnings=tuple(warning for warning in together.config.warnings if warning not in warned),
        )

    async def complete_guest(self, config: Config) -> None:
        """Have the guest compiled for every Python of `config`. Only in one's turn. Raises ConfigError and OSError."""
        if pythons := new_pythons(self.running.config, config):
            await anyio.to_thread.run_sync(complete_guest, self.running.guest, config, pythons)

    async def remove_unused(self) -> None:
        """Remove the snapshots that nothing needs: no process, and no release that is kept."""
        if self.deployed.missing():  # which snapshots these need is only known when they are loaded
            return
        running = self.running
        current = {runner.function.spec.code.name for runner in running.dispatcher.runners().values()}
        kept = {spec.code.name for spec in self.deployed.specs()}
        loaded = {code.name for code in running.tree.snapshots()}
        keep = {running.guest.name, *current, *kept, *loaded, *self.spared()}
        await anyio.to_thread.run_sync(remove_unused, running.state, keep)

    def _variant(self, name: str) -> Function | None:
        return self.deployed.variant(name)

    def _absence(self, function: str, number: int) -> str:
        return self.deployed.absence(function, number)

    def _number_of(self, function: str, version: str) -> int | None:
        return self.deployed.number_of(function, version)

    async def _run(self, work: Callable[[], Awaitable[object]]) -> None:
        with anyio.CancelScope() as scope:
            self._scopes.add(scope)
            try:
                await work()
            finally:
                self._scopes.discard(scope)

    async def _wait_for(self, work: Callable[[], Awaitable[ReloadResult]]) -> ReloadResult:
        async def attempt() -> ReloadResult:
            result = await attempted(work)
            self._report(result)
            return result

        return await self.in_turn(attempt) or ENDING

    async def _probe(self) -> ReloadResult:
        runners = self.running.dispatcher.runners()
        specs = {name: runner.function.spec for name, runner in runners.items() if AT not in name}
        if errors := await load_all(self.running.tree, specs):
            raise NotLoaded(errors, specs)
        return ReloadResult(ok=True)

    async def _reload(self, renew_all: bool) -> ReloadResult:
        result = await attempted(partial(self._change, renew_all))
        now = datetime.now(UTC)
        succeeded_at = now if result.ok else self.running.reloaded.succeeded_at
        problem = "" if result.ok else one_line(result)
        latest = Reloaded(ok=result.ok, at=now, succeeded_at=succeeded_at, problem=problem)
        self.running = replace(self.running, reloaded=latest)
        return result

    async def _change(self, renew_all: bool) -> ReloadResult:
        try:
            to, together = await anyio.to_thread.run_sync(self._prepare, self.running.served(), renew_all)
            may_wait = {name for name, version in together.versions.functions.items() if version.may_wait}
            return await self.step(Step(to=to, together=together, may_wait=frozenset(may_wait)))
        finally:
            await self.remove_unused()

    def _prepare(self, served: dict[str, Served], renew_all: bool) -> tuple[Deployments, Together]:
        config, readings = self._load(), None if renew_all else self.running.readings
        require_no_restart(self.deployed.base.config, config)
        state, now = self.releases.state, self.deployed
        base = Loaded(config=config, versions=make_versions(config, state, served, readings, beside=now.specs()))
        to = reloaded(now, base, self.releases, served, readings)
        return to, deployed_together(to)

    async def _switch(self, step: Step, change: Change) -> None:
        running, triggers, before = self.running, self.running.triggers, self.running.config
        config = step.together.config
        has_timers = bool(config.timers or before.timers)
        routes, limits = RouteTable(config.routes, config.settings.http.static), limits_of(config)
        change.add()
        label_versions(running.dispatcher, step.together, change.added)  # their queues begin before the switch
        await triggers.begin(config.queues)
        try:
            if has_timers:
                await triggers.timers.replace(config.timers)
            try:
                await step.commit()
            except BaseException:
                with anyio.CancelScope(shield=True), suppress(StoreError):
                    await triggers.timers.replace(before.timers)
                raise
        except BaseException:
            with anyio.CancelScope(shield=True):
                await triggers.keep_only(before.queues, 0)
            raise
        change.switch()
        label(running.dispatcher, step.together)
        running.dispatcher.machine.resize(limits)
        triggers.http.routes = routes
        running.bus.functions, running.bus.queues = frozenset(config.functions), own_names(config.queues)
        self.running = replace(  # a drain may have begun meanwhile
            self.running, config=config, versions=step.together.versions, deployments=step.to
        )
        self.changed.set()
        self.changed = anyio.Event()
        await triggers.keep_only(config.queues, config.settings.http.drain_s)
        change.remove()


async def attempted(work: Callable[[], Awaitable[ReloadResult]]) -> ReloadResult:
    """Do the work; what goes wrong becomes its result."""
    try:
        return await work()
    except (ConfigError, NotLoaded, StoreError, OSError) as error:
        return failed(error)
    except Exception as error:  # a bug in a reload must not end the server
        log.exception("a reload failed")
        return failed(error)


def label(dispatcher: Dispatcher, together: Together) -> None:
    """Tell the dispatcher which release each function is of, and which variants get a share of the events."""
    label_versions(dispatcher, together, together.functions)
    dispatcher.divide(together.splits)


def label_versions(dispatcher: Dispatcher, together: Together, names: Iterable[str]) -> None:
    """Tell the dispatcher which release each of these functions is of."""
    for name in _functions(names):
        dispatcher.label(name, together.labels.get(name, 0))


def _functions(names: Iterable[str]) -> tuple[str, ...]:
    """Return the names that are of functions, not of variants."""
    return tuple(name for name in names if AT not in name)


def _kept(before: Config, was: Versions, together: Together, new: Set[str]) -> tuple[str, ...]:
    """The functions that are not loaded again, of those whose code differs from what was last read."""
    config, versions = together.config, together.versions
    stayed = [config.functions[name] for name in sorted(before.functions.keys() & config.functions.keys() - new)]
    return tuple(
        one.name
        for one in stayed
        if before.functions[one.name].code != one.code or was.code.get(one.code) != versions.code.get(one.code)
    )


def limits_of(config: Config) -> Limits:
    """Return what all functions may hold together."""
    machine, cores = config.settings.machine, hardware.cores()
    return Limits(
        memory_bytes=machine.memory.size_bytes(hardware.memory_bytes()),
        max_instances=machine.max_instances,
        loads=cores,
        forks=FORKS_PER_CORE * cores,
    )
