"""The process tree of one dispatcher: a zygote per runtime, a template per function version, instances forked from it.

Theory of operation. Everything is made when it is first needed, once, however many ask for it at the same time; what an
event had to wait for is its start kind: `fork` if a template was there, `load` if it had to be made, `boot` if even the
zygote was missing. What dies is replaced: at once when it had been healthy, with back-off when it keeps failing, and
meanwhile every start fails at once with the stored reason. A version that is kept has its template restarted as soon as
it dies. When the tree ends, everything below it has ended first.
"""

import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import anyio.abc

from bus.outcome import StartKind
from sandbox import launch
from sandbox.backoff import Backoff
from sandbox.box import NO_BOX
from sandbox.calls import Verdict
from sandbox.commons import Commons
from sandbox.errors import Ended, LoadFailed, StartFailed
from sandbox.instance import Instance
from sandbox.launch import Account
from sandbox.logs import LogSink
from sandbox.spec import FunctionSpec, Runtime
from sandbox.template import Template
from sandbox.zygote import Zygote

CLOSE_LIMIT_S = 10.0
"""How long the end of everything may take politely; then the zygotes kill what is left."""
_SHUTDOWN = Verdict("crash", "InstanceKilled", "the server was shut down")
BOOT_LIMIT_S = 60.0
"""How long a zygote may take to load what it preloads."""


class _Place:
    """The place of a zygote or a template, filled or not: who makes it holds the lock, what failed is remembered."""

    def __init__(self) -> None:
        self.lock = anyio.Lock()
        self.backoff = Backoff()
        self.error = LoadFailed("CrashLoop", "it keeps ending right after it was loaded")
        self.made_ns = 0
        self.vacant = anyio.Event()

    def refuse_early(self) -> None:
        """Raise the stored reason while the back-off lasts."""
        if self.backoff.remaining_s(time.monotonic_ns()) > 0:
            error = self.error
            raise LoadFailed(error.code, error.message, error.traceback, self.backoff.retry_at_ns)

    def failed(self, error: LoadFailed | None = None) -> None:
        """It could not be made, for the reason given; or it ended after it had been."""
        now_ns = time.monotonic_ns()
        lived_s = 0.0 if error is not None else (now_ns - self.made_ns) / 1e9
        self.backoff = self.backoff.failed(now_ns, lived_s)
        self.error = error or LoadFailed("CrashLoop", "it keeps ending right after it was loaded")

    def filled(self) -> None:
        """It was made."""
        self.made_ns = time.monotonic_ns()
        self.vacant = anyio.Event()


class _Root(_Place):
    """One runtime's zygote."""

    zygote: Zygote | None = None


class _Branch(_Place):
    """One version's template. `keeper` restarts it as soon as it ends, until it is cancelled."""

    template: Template | None = None
    keeper: anyio.CancelScope | None = None

    def __init__(self, spec: FunctionSpec) -> None:
        super().__init__()
        self.spec = spec


class Tree:
    """Makes and keeps zygotes and templates; starts instances. Use `open_tree`."""

    def __init__(self, commons: Commons) -> None:
        self._commons = commons
        self._roots: dict[str, _Root] = {}
        """By the whole of what a runtime is: the same name with other libraries is another zygote."""
        self._branches: dict[str, _Branch] = {}
        self._templates: set[Template] = set()
        """All that live, also those that only wait for their last instance."""

    async def start(self, spec: FunctionSpec) -> tuple[Instance, StartKind]:
        """A new instance of this version and what it had to wait for.

        Raises LoadFailed (with the stored reason while it backs off), or StartFailed if the machine has no room.
        """
        template, kind = await self._template(self._branch(spec))
        try:
            return await template.fork(), kind
        except Ended:  # it died under our hands: once more with a new one
            template, kind = await self._template(self._branch(spec))
        try:
            return await template.fork(), kind
        except Ended as error:
            raise LoadFailed("CrashLoop", f"the template of {spec.name!r} keeps ending: {error}") from None

    def keep(self, spec: FunctionSpec) -> None:
        """Load this version's template now, in the background, and again whenever it ends, until `drop`."""
        branch = self._branch(spec)
        if branch.keeper is None:
            branch.keeper = anyio.CancelScope()
            self._commons.tasks.start_soon(self._keep, branch, branch.keeper)

    def drop(self, version: str) -> None:
        """This version is not current any more: its instances finish what they run, then all of it ends."""
        branch = self._branches.pop(version, None)
        if branch is None:
            return
        if branch.keeper is not None:
            branch.keeper.cancel()
        if branch.template is not None:
            branch.template.retire()

    def templates(self) -> list[Template]:
        """All live templates, for `ps` and for tests."""
        return sorted(self._templates, key=lambda template: template.n)

    def zygotes(self) -> list[Zygote]:
        """All live zygotes."""
        return [root.zygote for root in self._roots.values() if root.zygote is not None]

    async def close(self) -> None:
        """End everything: idle instances run their `stop` hooks, busy ones are killed, then templates, then zygotes."""
        for version in tuple(self._branches):
            self.drop(version)
        ending = tuple(self._templates)
        for template in ending:
            for instance in tuple(template.instances.values()):
                instance.kill(_SHUTDOWN) if instance.state == "busy" else instance.leave()
            template.retire()
        with anyio.move_on_after(CLOSE_LIMIT_S):
            for template in ending:
                await template.gone.wait()
        async with anyio.create_task_group() as stopping:
            for zygote in self.zygotes():
                stopping.start_soon(zygote.stop)
        self._commons.sweep.close()

    def _branch(self, spec: FunctionSpec) -> _Branch:
        return self._branches.setdefault(spec.version, _Branch(spec))

    async def _keep(self, branch: _Branch, scope: anyio.CancelScope) -> None:
        with scope:
            while True:
                try:
                    await self._template(branch)
                except (LoadFailed, StartFailed):
                    await anyio.sleep(branch.backoff.remaining_s(time.monotonic_ns()))
                else:
                    await branch.vacant.wait()

    async def _template(self, branch: _Branch) -> tuple[Template, StartKind]:
        template = branch.template
        if template is not None:
            if template.must_become:  # good for one instance only: whoever comes first has it
                branch.template = None
            return template, "fork" if not template.must_become else "load"
        async with branch.lock:
            if branch.template is not None and not branch.template.must_become:
                return branch.template, "load"
            branch.refuse_early()
            zygote, booted = await self._zygote(branch.spec.runtime)
            try:
                template = await self._load(branch, zygote)
            except LoadFailed as error:
                branch.failed(error)
                raise
            except Ended as error:
                branch.failed(failure := LoadFailed("InitFailed", f"its zygote ended: {error}"))
                raise failure from None
            return template, "boot" if booted else "load"

    async def _load(self, branch: _Branch, zygote: Zygote) -> Template:
        template = Template(branch.spec, zygote, self._commons)
        template.on_end = lambda ended: self._template_ended(branch, ended)
        template.on_gone = self._templates.discard
        self._templates.add(template)
        try:
            await template.start(NO_BOX)
        except BaseException:
            if template.pid == 0:
                self._templates.discard(template)
            raise
        branch.template = template
        branch.filled()
        return template

    def _template_ended(self, branch: _Branch, template: Template) -> None:
        if branch.template is template:
            branch.template = None
            branch.failed()
            branch.vacant.set()

    async def _zygote(self, runtime: Runtime) -> tuple[Zygote, bool]:
        """The runtime's zygote, and whether this call had to wait for its start."""
        root = self._roots.setdefault(repr(runtime), _Root())
        if root.zygote is not None:
            return root.zygote, False
        async with root.lock:
            if root.zygote is not None:
                return root.zygote, True
            root.refuse_early()
            try:
                zygote = Zygote(runtime, self._commons)
                zygote.on_end = lambda ended: self._zygote_ended(root, ended)
                await zygote.preload(BOOT_LIMIT_S)
            except LoadFailed as error:
                root.failed(error)
                raise
            root.zygote = zygote
            root.filled()
            return zygote, True

    def _zygote_ended(self, root: _Root, zygote: Zygote) -> None:
        """Its templates can be swept after no more, so they start nothing new and stay only as sweepers themselves."""
        if root.zygote is zygote:
            root.zygote = None
            root.failed()
        for template in tuple(self._templates):
            if template.zygote is zygote:
                template.retire()


@contextlib.asynccontextmanager
async def open_tree(
    *, guest: Path, folders: Path, sink: LogSink, account: Account | None = None
) -> AsyncIterator[Tree]:
    """A tree that lives as long as the block, and nothing of it longer.

    `guest`: the directory with the guest's code; `folders`: where private folders of processes are made. Both must be
    readable for `account`, the unprivileged user; None is the user we are, who must not be root.
    """
    launch.seal_descriptors()
    async with anyio.create_task_group() as tasks:
        tree = Tree(Commons(account or launch.own_account(), guest, folders, sink, tasks))
        try:
            yield tree
        finally:
            with anyio.CancelScope(shield=True):
                await tree.close()
            tasks.cancel_scope.cancel()
