"""The server's half of a template. `lives.py` decides; this module carries out. `offspring.py` has its instances.

A template is not trusted, because it runs the code that it imported. Its pidfds are verified, its messages have exact
types and time limits, and any breach kills it. Its instances do not die with it: they finish their calls, and the
zygote, which adopts them, buries them.
"""

import asyncio
import fcntl
import os
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from socket import SOCK_SEQPACKET

import anyio

from bus.outcome import ExceptionName
from sandbox import memory, processes, stacks
from sandbox.channels import Learnt, close_all
from sandbox.commons import Commons
from sandbox.control import Control, Message
from sandbox.endings import Died
from sandbox.errors import Ended, LoadFailed
from sandbox.group import Group
from sandbox.guest._forklight.wire import STACK_SIGNAL
from sandbox.instance import Instance
from sandbox.last_words import hidden, quoted
from sandbox.launch import LOG_BYTES
from sandbox.lives import Action, Input, Life
from sandbox.load_message import load_error, load_message, too_much_memory
from sandbox.logs import LogPipe, LogTurns
from sandbox.offspring import Offspring
from sandbox.quarters import quarters
from sandbox.rehearsal import Plan
from sandbox.spec import FunctionSpec
from sandbox.sweep import WATCH_S
from sandbox.usage import Held
from sandbox.zygote import REQUEST_LIMIT_S, Zygote


class Template:
    """One live template. After `load` it forks instances until it is retired or dies."""

    def __init__(
        self, spec: FunctionSpec, zygote: Zygote, commons: Commons, plan: Plan, *, is_candidate: bool = False
    ) -> None:
        """`plan`: what it imports ahead. A candidate is to take the place of one that has loaded the same code."""
        self.spec = spec
        self.zygote = zygote
        self.loaded = Message(t="loaded")
        """The template's report after the import: its memory, its threads, whether the handler is async."""
        self.gone = anyio.Event()
        """Set once the process is dead, its orphans are swept and its last instance is buried."""
        self.n = commons.number()
        self.pid = 0
        self.rss_kb = self.own_kb = self.anonymous_kb = 0
        """Memory after the import, which every instance shares; that beyond the zygote's; that which is of no file."""
        self.load_ns = 0
        """How long it took to start the process and load the function."""
        self.on_end: Callable[[Template], None] = lambda _template: None
        self.on_gone: Callable[[Template], None] = lambda _template: None
        self.on_learnt: Learnt | None = None
        """Gets what the first call of an instance has imported; while it is None, instances are not asked."""
        self.group = Group(commons.groups, self.n)
        self._rehearse = plan.message(spec.rehearsal, tries=is_candidate)
        self._is_candidate = is_candidate
        self.has_answered = False
        """Whether it has told how its load ended."""
        self.has_borne = False
        """Whether an instance could take events, so that the function loads."""
        self._commons = commons
        self._meter = commons.meters.of(spec.name)
        self._held = Held(self._meter.templates)
        self._life = Life()
        self._quarters = quarters(spec, zygote, commons)
        self._offspring = Offspring(self, commons, self._quarters)
        self.instances: Mapping[int, Instance] = self._offspring.instances
        """Those that are not buried yet."""
        self._last_stack = ""
        self._exit_code: int | None = None

    def __repr__(self) -> str:
        state, instances = self._life.state, len(self.instances)
        return f"<Template {self.n} {self.spec.name} {state} pid={self.pid} instances={instances}>"

    @property
    def ended(self) -> str | None:
        """Why it forks no more, or None while it forks or may yet."""
        return self._life.reason

    @property
    def is_dead(self) -> bool:
        """Whether the process has ended. What it left behind may not be swept yet."""
        return self._life.is_dead

    @property
    def may_rehearse(self) -> bool:
        """Whether it may import more than the function: what it was told to, or, since Python 3.15, lazy imports."""
        wanted = self._rehearse
        return wanted is not None and bool(wanted["modules"] or self.zygote.has_lazy_imports)

    @property
    def must_become(self) -> bool:
        """Whether forking would be unsafe, so that each instance is a template of its own."""
        return self.why_become != ""

    @property
    def why_become(self) -> str:
        """What the import left behind that forbids forking; empty if nothing."""
        threads = [f"threads of {self.loaded.thread_owner}"] if self.loaded.threads > 1 else []
        return ", ".join([*threads, *self.loaded.unsafe])

    @property
    def shared(self) -> tuple[str, ...]:
        """What the import left behind that all instances share."""
        return () if self.must_become else self.loaded.shared

    async def start(self) -> None:
        """Have the zygote fork the process, then load the function. Raises LoadFailed, StartFailed, Ended (zygote)."""
        begun_ns = time.monotonic_ns()
        try:
            await self._quarters.open()
        except BaseException:
            self._on(Input.UNOPENED)
            raise
        self._on(Input.OPENED)
        if self._life.reason is not None:
            raise Ended(self._life.reason)
        try:
            await self._be_born()
        except BaseException:
            self._on(Input.STILLBORN)
            raise
        # What a candidate prints as it loads was logged when the first template did.
        turns = LogTurns(lambda _line: None) if self._is_candidate else self._commons.log_turns
        self._log = LogPipe(self._channels.log, self.spec.name, f"template-{self.n}", LOG_BYTES, turns)
        self._log.keep_last_words(keep=True)
        self._control = Control(self._channels.socket, self._offspring.reported, partial(self._on, Input.CUT_OFF))
        self._offspring.connect(self._control)
        asyncio.get_running_loop().add_reader(self._pidfd, self._died)
        self._held.begin(time.monotonic_ns())
        self._on(Input.BORN)
        self._quarters.watch(self.pid, self.kill)
        await self._load()
        self.load_ns = time.monotonic_ns() - begun_ns

    async def _be_born(self) -> None:
        self._folder = await self._quarters.new_folder()
        try:
            with self._commons.equip(SOCK_SEQPACKET) as self._channels:
                box, uid = self._quarters.box(), self.spec.containment.uid
                pid, self._pidfd = await self.zygote.fork_template(self.n, self._channels, box, uid)
        except BaseException:
            self._quarters.remove_folder(self._folder)
            raise
        self.pid = pid or 0

    async def _load(self) -> None:
        """Wait for the import, for `init_timeout` and then for the grace, in which the process writes its stack."""
        spec = self.spec
        watch = self._commons.sweep.watch(self)
        watch.expect(time.monotonic_ns() + int(WATCH_S * 1e9))
        overtime = asyncio.get_running_loop().call_later(spec.init_timeout_s, processes.kill, self._pidfd, STACK_SIGNAL)
        try:
            limit_s = spec.init_timeout_s + spec.grace_s
            await self._commons.admit(self.group, self.pid, spec)
            makes_folder, confine = self._quarters.guest_makes_folders, self.zygote.confinement(spec)
            await self._quarters.connect(self._control)
            request = load_message(
                *(spec, self._folder, self._rehearse, confine),
                counted=self.group.bounds_processes,
                guest_makes_folder=makes_folder,
            )
            answer, fds = await self._control.request(request, limit_s=limit_s)
        except Ended as error:
            if self.zygote.ended is not None:
                raise Ended(f"its zygote ended: {self.zygote.ended}") from None
            await self.gone.wait()
            stack, words = stacks.readable(self._last_stack), self._log.last_words()
            how = Died(self._exit_code, self.group.why_killed(self._exit_code, self._held.own_kb))
            raise load_error(spec, str(error), how, stack, words) from None
        except BaseException:
            self._control.close("its start was cancelled")
            raise
        finally:
            overtime.cancel()
            watch.end()
        close_all(fds)
        self.has_answered = True
        if answer.t != "loaded":
            self._control.close("it failed to load")
            failed = LoadFailed(ExceptionName(str(answer.code)), answer.message, answer.traceback)
            raise quoted(failed, self._log.last_words(), spec) if spec.runtime.snapshot else hidden(failed, spec)
        self._log.keep_last_words(keep=False)
        self.loaded = answer
        self._measure()
        self.anonymous_kb = processes.anonymous_kb(self.pid) or 0
        self._held.read(self.own_kb + self._quarters.held_kb(), time.monotonic_ns())
        self._on(Input.LOADED)

    def _measure(self) -> None:
        self.rss_kb = processes.memory_kb(self.pid) or 0
        self.own_kb = max(0, self.rss_kb - self.zygote.rss_kb)

    async def fork(self, *, ahead: bool = False, calls: int | None = None) -> Instance:
        """Start an instance and wait for its `after_fork` hook; it can take an event at once.

        `ahead`: no event waits for it, so it warms up first; `calls`: it ends by itself after so many.

        Raises Ended if this template ends, StartFailed if there is no room, LoadFailed if the hook fails.
        """
        if self.must_become:
            self._on(Input.BECOME, "it became an instance")
        else:
            self._on(Input.FORK)
        try:
            instance, code = await self._offspring.make(self.on_learnt, ahead=ahead, calls=calls)
        except BaseException:
            self._on(Input.LET_GO)
            raise
        if code is not None:  # not now: the caller must get the instance before its end is reported
            asyncio.get_running_loop().call_soon(instance.buried, code)
        await instance.start()
        self.has_borne = True
        if not self.spec.runtime.abilities.imports_ahead:  # it may keep what its instances have written for others
            self._measure()
        if not (self._life.keeps_newborns or self.must_become):
            instance.leave()
            raise Ended(self.ended)
        return instance

    def became(self) -> int:
        """It is an instance from now on, and all its memory is that of one. Returns another pidfd of it."""
        self._meter.becomes = True
        self._held.end(time.monotonic_ns())
        self._on(Input.BECAME)
        return fcntl.fcntl(self._pidfd, fcntl.F_DUPFD_CLOEXEC, 3)

    def look_kb(self) -> int:
        """What it holds beside its instances: its own memory, and the files that they have written in their box."""
        held_kb = self.own_kb + self._quarters.held_kb() + (self._quarters.files_kb() if self.instances else 0)
        if not (self.is_dead or self.must_become):
            self._held.read(held_kb, time.monotonic_ns())
        return held_kb

    def replace(self) -> None:
        """Another template forks from now on. The instances serve on; the process ends after the last one."""
        self._on(Input.REPLACE, "it was replaced")

    def retire(self) -> None:
        """Fork no more. The instances finish their calls and leave; the process ends after the last one."""
        self._on(Input.RETIRE, "it was retired")

    def kill(self, reason: str) -> None:
        """SIGKILL the process, which is hostile or stuck. Its instances finish their calls."""
        self._control.close(reason)

    def _on(self, what: Input, reason: str | None = None) -> None:
        for action in self._life.on(what, reason):
            if action is Action.REFUSE:
                raise Ended(self.ended)
            self._carry_out(action)

    def _carry_out(self, action: Action) -> None:
        match action:
            case Action.WITHDRAW:
                self._offspring.withdraw()
                self.on_end(self)
            case Action.DISMISS:
                self._offspring.dismiss()
            case Action.HANG_UP:
                self._control.close("it was retired")
                asyncio.get_running_loop().call_later(REQUEST_LIMIT_S, self._on, Input.OVERDUE)
            case Action.KILL:
                processes.kill(self._pidfd)
            case Action.SWEEP:
                self._commons.tasks.start_soon(self._settle_estate, self._offspring.unburied())
            case Action.RELEASE:
                self._channels.close()
            case Action.CLOSE:
                self._quarters.close(partial(self._on, Input.CLOSED))
            case Action.FINISH:
                self._commons.remove_group(self.group)
                self.gone.set()
                self.on_gone(self)

    def bury(self, instance: Instance) -> None:
        """Called when an instance is dead. A template that still reaps buries it and reports `exited`."""
        self.group.hold_forks(self.pid)
        if not self._life.reaps:
            self._commons.tasks.start_soon(self._bury_orphans, [instance])

    def bury_overdue(self, instance: Instance) -> None:
        """Called when `exited` is overdue. The template is stuck: kill it, and the zygote buries in its place."""
        self.kill(f"it did not reap instance {instance.id} in time")

    def forget(self, instance: Instance, folder: Path) -> None:
        """Called when an instance is buried. The last one of a retired template ends the template."""
        self._offspring.forget(instance, folder, keeps_folder=self.ended is None and not self.must_become)
        if self.group.holds_forks and not any(other.is_dead for other in self.instances.values()):
            self.group.release_forks(self.pid, self.spec)
        self._on(Input.LET_GO)

    async def _bury_orphans(self, instances: list[Instance]) -> None:
        """Bury instances in place of the template."""
        with anyio.CancelScope(shield=True):
            await self._quarters.clear(is_last=self.must_become)
        for instance in instances:
            if instance in self.instances.values():  # else it was buried meanwhile
                instance.buried(self._quarters.end_of(instance.pid, instance.pidfd, self._meter))

    def tick(self, now_ns: int) -> int:
        """Check the memory while it loads, because no rlimit covers all of it."""
        used_kb = (processes.memory_kb(self.pid) or 0) - self.zygote.rss_kb
        if self.spec.runtime.snapshot:
            used_kb += memory.below_kb(self.pid)  # of what builds it
        self._held.read(used_kb, now_ns)
        if used_kb * 1024 > self.spec.limits.template_memory_bytes:
            self.kill(too_much_memory(used_kb))
        return now_ns + int(WATCH_S * 1e9)

    def _died(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pidfd)
        self._held.end(time.monotonic_ns())
        self._offspring.finish_reports()
        self._last_stack = self._channels.read_stack()
        self._commons.pids.discard(self.pid)
        self._control.close("the process ended")
        self._log.close()
        os.close(self._pidfd)
        self._on(Input.DIED)

    async def _settle_estate(self, unburied: list[Instance]) -> None:
        """Sweep what the process left behind, and bury the instances that died before it could do so itself.

        Instances that die later go through `bury`.
        """
        with anyio.CancelScope(shield=True):
            await self.zygote.sweep()
        if not self.must_become:  # else the burial of the instance takes it
            self._exit_code = self.zygote.take_end(self.pid, self._meter)
        self._quarters.remove_folder(self._folder)
        if unburied:
            await self._bury_orphans(unburied)
        self._on(Input.SWEPT)
