"""The process tree of one server: a zygote per runtime, a template per function version, and instances forked from it.

Theory of operation. The tree starts each process when it is first needed, once, however many callers ask. The start
kind of an event says what it had to wait for: `fork` if the template existed, `load` if it had to be started, `boot` if
even the zygote had to be. A process that dies is replaced, with back-off if it keeps failing: then every start fails at
once with the stored reason. The template of a version that is kept restarts at once. What no version needs ends.
"""

import contextlib
import logging
import time
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path

import anyio
import anyio.abc
from anyio.lowlevel import checkpoint

from bus.outcome import StartKind
from sandbox import launch, processes
from sandbox.backoff import Backoff
from sandbox.causes import Cause
from sandbox.cgroups import NOWHERE, Found, open_groups
from sandbox.commons import Commons
from sandbox.endings import Verdict
from sandbox.errors import Ended, LoadFailed, StartFailed
from sandbox.instance import Instance
from sandbox.launch import Account
from sandbox.loading import Loader
from sandbox.logs import LogSink
from sandbox.places import Branch, Gate, Holds, Key, Root, again, template_key
from sandbox.rehearsal import Plan, Plans
from sandbox.spec import FunctionSpec, Runtime
from sandbox.sweep import Sweep
from sandbox.template import Template
from sandbox.zygote import Zygote

log = logging.getLogger(__name__)

CLOSE_LIMIT_S = 10.0
"""How long processes may take to end by themselves; then the zygotes kill the rest."""
_SHUTDOWN = Verdict("crash", "InstanceKilled", "the server was shut down")
BACKGROUND_LOADS = 2
"""How many templates load at a time before an event needs them. The processors stay free for those that one needs."""
BOOT_LIMIT_S = 60.0
"""How long a zygote may take to preload."""


class Tree:
    """Starts zygotes, templates and instances, and keeps the first two. Use `open_tree`."""

    def __init__(self, commons: Commons, plans: Plans | None = None) -> None:
        """Without `plans`, no call is asked what it has imported."""
        self._commons = commons
        self.meters = commons.meters
        self._roots: dict[str, Root] = {}
        """By the repr of the whole runtime: the same name with other libraries is another zygote."""
        self._branches: dict[Key, Branch] = {}
        self.held = Holds()  # `drop` leaves them alone: they may soon be current again
        self._templates: set[Template] = set()
        """Templates that live, or whose instances do."""
        self._zygotes: set[Zygote] = set()
        self._background = anyio.CapacityLimiter(BACKGROUND_LOADS)
        self._loader = Loader(commons, plans, self._background, self._watch)
        self.background = Gate()  # shut while only templates that an event needs are loaded

    def __repr__(self) -> str:
        instances = sum(len(template.instances) for template in self._templates)
        return f"<Tree zygotes={len(self._zygotes)} templates={len(self._templates)} instances={instances}>"

    @property
    def sweep(self) -> Sweep:
        """The one timer. Pools use it for their deadlines, too."""
        return self._commons.sweep

    async def start(
        self, spec: FunctionSpec, *, ahead: bool = False, calls: int | None = None
    ) -> tuple[Instance, StartKind]:
        """Start an instance of this version; returns it with the kind of start.

        `ahead`: no event waits for it; `calls`: it ends by itself after so many. Raises LoadFailed if the code or its
        `after_fork` hook fails (during the back-off with the stored reason), StartFailed if the machine has no room.
        """
        branch = self._branch(spec)
        with self._reporting(branch):
            return await again(branch, partial(self._start, ahead=ahead, calls=calls))

    async def load(self, spec: FunctionSpec) -> Template:
        """This version's live template, started now if there is none. Raises LoadFailed and StartFailed."""
        branch = self._branch(spec)
        await again(branch, self._fill)
        if branch.dropped:  # just then: its function had been without events for long
            return await self.load(spec)
        if branch.made is None:
            raise LoadFailed("CrashLoop", f"the template of {spec.name!r} ended as soon as it was loaded")
        return branch.made

    def has(self, spec: FunctionSpec) -> bool:
        """Whether this version was used and not dropped since."""
        return template_key(spec) in self._branches

    def keep(self, spec: FunctionSpec) -> None:
        """Load this version's template in the background, now and whenever it ends, until `drop`."""
        branch = self._branch(spec)
        if branch.keeper is None:
            branch.keeper = anyio.CancelScope()
            self._commons.tasks.start_soon(self._keep, branch, branch.keeper)

    def drop(self, spec: FunctionSpec) -> None:
        """This version is no longer current: its instances finish their calls, then all its processes end."""
        branch = None if self.held.has(template_key(spec)) else self._branches.pop(template_key(spec), None)
        if branch is None:
            return
        branch.dropped = True
        if branch.keeper is not None:
            branch.keeper.cancel()
        for template in (branch.made, branch.candidate, *branch.older):
            if template is not None:
                template.retire()
        root = self._roots.get(repr(spec.runtime))
        if root is not None and root.made is not None:
            self._stop_if_idle(root.made)

    def template_of(self, spec: FunctionSpec) -> Template | LoadFailed | None:
        """This version's live template, or why it failed, or None if it was not needed so far or is starting."""
        branch = self._branches.get(template_key(spec))
        return None if branch is None else branch.births.current or branch.made or branch.current

    def problem_of(self, spec: FunctionSpec) -> str:
        """Why the latest start of this version failed; empty if it succeeded."""
        branch = self._branches.get(template_key(spec))
        return "" if branch is None else branch.problem

    def cause_of(self, spec: FunctionSpec, kind: StartKind) -> Cause | None:
        """Why this version's template (`load`), or the zygote of its runtime (`boot`), last had to be started."""
        branch, root = self._branches.get(template_key(spec)), self._roots.get(repr(spec.runtime))
        place = root if kind == "boot" else branch
        if kind == "load" and branch is not None and branch.why_become:
            return Cause("unforkable", branch.why_become)
        return None if place is None else place.cause

    def leftovers_of(self, spec: FunctionSpec) -> tuple[str, tuple[str, ...]]:
        """What the import of the latest template left behind: what forbids forking, and what all instances share."""
        branch = self._branches.get(template_key(spec))
        return ("", ()) if branch is None else (branch.why_become, branch.shared)

    def files_of(self, spec: FunctionSpec) -> frozenset[str] | None:
        """The files of its code that this version has loaded, as it says itself; None if they are unknown."""
        branch = self._branches.get(template_key(spec))
        return None if branch is None else branch.files

    def rehearsed_of(self, spec: FunctionSpec) -> Plan:
        """What this version's templates import ahead, and what they leave out."""
        branch = self._branches.get(template_key(spec))
        return self._loader.plans.of(spec.name, spec.version) if branch is None else branch.plan

    def replaced_of(self, spec: FunctionSpec) -> tuple[Template, ...]:
        """This version's templates that fork no more, but whose instances serve on."""
        branch = self._branches.get(template_key(spec))
        return () if branch is None else tuple(one for one in branch.older if not one.is_dead)

    def settle(self) -> None:
        """Replace no more templates by better ones: the server ends."""
        self._loader.settle()

    def templates(self) -> list[Template]:
        """All live templates, oldest first."""
        return sorted((one for one in self._templates if not one.is_dead), key=lambda template: template.n)

    def cpu_ns(self) -> dict[str, int]:
        """The CPU time of the living processes of each function, of what they have waited for included."""
        pids: dict[str, set[int]] = {}  # a set, because a template may have become an instance
        for template in self._templates:
            found = pids.setdefault(template.spec.name, set())
            found.update(one.pid for one in template.instances.values() if not one.is_dead)
            if not template.is_dead:
                found.add(template.pid)
        return {name: sum(map(processes.cpu_ns, each)) for name, each in pids.items()}

    def snapshots(self) -> set[Path]:
        """The code that may still be read, by a process that lives or may be started."""
        specs = [*(one.spec for one in self._templates), *(branch.spec for branch in self._branches.values())]
        return {spec.code for spec in specs}

    def zygotes(self) -> list[Zygote]:
        """All live zygotes, including those that are starting."""
        return sorted(self._zygotes, key=lambda zygote: zygote.pid)

    @property
    def forwarder_kb(self) -> int:
        """The memory of the process that forwards connections; 0 without one."""
        return self._commons.forwarding.rss_kb

    async def close(self) -> None:
        """End everything: idle instances run their `stop` hooks, busy ones are killed, then templates, then zygotes."""
        self.settle()
        self.held.clear()
        while self._branches:
            self.drop(next(iter(self._branches.values())).spec)
            await checkpoint()
        ending = tuple(self._templates)
        for template in ending:
            for instance in tuple(template.instances.values()):
                instance.kill(_SHUTDOWN) if instance.state == "busy" else instance.leave()
            template.retire()
        await _all_gone(ending)
        async with anyio.create_task_group() as stopping:
            for zygote in self.zygotes():
                stopping.start_soon(zygote.stop)
        await _all_gone(ending)  # the zygotes have killed the rest
        await self._commons.forwarding.close()
        self._commons.etc.remove()
        self._commons.sweep.close()
        self._commons.log_turns.finish()

    def _branch(self, spec: FunctionSpec) -> Branch:
        branch = self._branches.get(template_key(spec))
        if branch is None:
            branch = self._branches[template_key(spec)] = Branch(spec)
            branch.plan = self._loader.plans.of(spec.name, spec.version)
        return branch

    @contextlib.contextmanager
    def _reporting(self, branch: Branch) -> Iterator[None]:
        """Log why a start fails to the function's log, once for each reason, and remember it for `problem_of`."""
        try:
            yield
        except (LoadFailed, StartFailed) as error:
            if branch.problem != str(error):
                self._commons.report(branch.spec.name, f"the function cannot be started: {error}")
            branch.problem = str(error)
            raise
        branch.problem = ""

    async def _keep(self, branch: Branch, scope: anyio.CancelScope) -> None:
        backoff = Backoff()
        with scope:
            while True:
                try:
                    await self.background.wait()
                    async with self._background:
                        with self._reporting(branch):
                            await again(branch, self._fill)
                except (LoadFailed, StartFailed):
                    backoff = backoff.failed(time.monotonic_ns())
                    await anyio.sleep(backoff.remaining_s(time.monotonic_ns()))
                else:
                    backoff = Backoff()
                    self._loader.log_leftovers(branch)
                    await branch.vacant.wait()

    async def _start(self, branch: Branch, *, ahead: bool, calls: int | None) -> tuple[Instance, StartKind]:
        branch.births.refuse_early()
        kind = await self._fill(branch)
        template = branch.made
        if template is None:
            raise Ended("it ended as soon as it was loaded")
        launch.require_descriptors()
        self._loader.log_leftovers(branch)
        if template.must_become:  # it becomes one instance only, for the first caller
            branch.vacate(template)
        try:
            instance = await template.fork(ahead=ahead, calls=calls)
        except LoadFailed as error:
            branch.births.failed(error)
            raise
        log.debug("%s: %r is forked (%s)", branch.spec.name, instance, kind)
        branch.births.succeeded()
        return instance, kind

    async def _fill(self, branch: Branch) -> StartKind:
        """Ensure that the branch has a template; returns the kind of start. Raises LoadFailed, StartFailed, Ended."""
        if branch.made is not None:
            return "load" if branch.made.must_become else "fork"
        async with branch.lock:
            if branch.made is not None:
                return branch.made_by  # another caller started it, and this one waited just as long
            branch.refuse_early()
            await branch.fetch()
            zygote, booted = await self._zygote(branch.spec.runtime)
            if branch.dropped:
                self._stop_if_idle(zygote)
            try:
                template = await self._loader.load(branch, zygote)
            except LoadFailed as error:
                branch.failed(error)
                raise
            branch.fill(template)
            branch.describe(template)
            branch.made_by = "boot" if booted else "load"
            if branch.dropped:  # while it was loaded
                template.retire()
            self._loader.improve_soon(branch)
            return branch.made_by

    def _watch(self, branch: Branch, template: Template) -> None:
        """Know of a template from its first moment."""
        template.on_end = lambda ended: self._template_ended(branch, ended)
        template.on_gone = self._template_gone
        self._templates.add(template)

    def _template_ended(self, branch: Branch, template: Template) -> None:
        log.debug("%s: %r ended: %s", branch.spec.name, template, template.ended)
        stood = branch.vacate(template, Cause("ended", template.zygote.ended or template.ended or ""))
        if stood and not branch.dropped and template.zygote.ended is None:  # else it is not its own fault
            branch.note_end()

    def _template_gone(self, template: Template) -> None:
        log.debug("%s: template %d is gone, with all it had", template.spec.name, template.n)
        self._templates.discard(template)
        self._stop_if_idle(template.zygote)

    def _stop_if_idle(self, zygote: Zygote) -> None:
        """Stop the zygote once its last template has ended, if no version needs its runtime."""
        if any(branch.spec.runtime == zygote.runtime for branch in self._branches.values()):
            return
        root = self._roots[repr(zygote.runtime)]
        is_used = any(template.zygote is zygote for template in self._templates)
        if not is_used and root.vacate(zygote, Cause("unneeded")):
            self._commons.tasks.start_soon(self._stop, zygote)

    async def _stop(self, zygote: Zygote) -> None:
        with anyio.CancelScope(shield=True):
            await zygote.stop()

    async def _zygote(self, runtime: Runtime) -> tuple[Zygote, bool]:
        """The runtime's zygote, started if there is none, and whether this call waited for its start."""
        root = self._roots.setdefault(repr(runtime), Root())
        if root.made is not None:
            return root.made, False
        async with root.lock:
            if root.made is not None:
                return root.made, True
            root.refuse_early()
            launch.require_descriptors()
            try:
                zygote = Zygote(runtime, self._commons)
                log.debug("runtime %s: a zygote is started", runtime.name)
                self._zygotes.add(zygote)
                zygote.on_end = lambda ended: self._zygote_ended(root, ended)
                zygote.on_gone = self._zygotes.discard
                await zygote.preload(BOOT_LIMIT_S)
            except LoadFailed as error:
                root.failed(error)
                raise
            root.fill(zygote)
            return zygote, True

    def _zygote_ended(self, root: Root, zygote: Zygote) -> None:
        """Retire its templates: with no zygote to sweep after them, they may only finish and sweep."""
        log.debug("runtime %s: %r ended: %s", zygote.runtime.name, zygote, zygote.ended)
        if root.vacate(zygote, Cause("ended", zygote.ended or "")):
            root.note_end()
        for template in tuple(self._templates):
            if template.zygote is zygote:
                template.retire()


async def _all_gone(templates: tuple[Template, ...]) -> None:
    """Wait until all are gone, but no longer than `CLOSE_LIMIT_S`."""
    with anyio.move_on_after(CLOSE_LIMIT_S):
        for template in templates:
            await template.gone.wait()


@contextlib.asynccontextmanager
async def open_tree(
    *,
    guest: Path,
    folders: Path,
    sink: LogSink,
    account: Account | None = None,
    shares_input: bool = False,
    plans: Plans | None = None,
    cgroups: Found = NOWHERE,
) -> AsyncIterator[Tree]:
    """A tree that lives as long as the block; no process of it outlives the block.

    `guest`: the directory with the guest's code; `folders`: where the private folders of processes are created. Both
    must be readable for `account`, the unprivileged user; None is the server's own user, which must not be root.
    With `shares_input`, functions read the server's standard input; if that is a terminal, they also write to it
    instead of to their logs, so that a debugger works. With `plans`, templates import ahead what first calls imported.
    `cgroups`: where there can be control groups for them.
    """
    launch.seal_descriptors()
    with open_groups(cgroups) as groups:
        async with anyio.create_task_group() as tasks:
            commons = Commons(
                *(account or launch.own_account(), guest, folders, sink, tasks),
                groups=groups,
                shares_input=shares_input,
            )
            tree = Tree(commons, plans)
            try:
                yield tree
            finally:
                with anyio.CancelScope(shield=True):
                    await tree.close()
                tasks.cancel_scope.cancel()
