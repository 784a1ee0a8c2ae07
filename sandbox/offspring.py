"""The instances of one template: how they are made, which of them are not buried yet, and what one leaves to the next.

A template that may fork is asked for a fork, any other one becomes its only instance. `template.py` is the process
itself.
"""

from pathlib import Path
from typing import Protocol

from sandbox import processes
from sandbox.channels import Body, Learnt, close_all
from sandbox.commons import Commons
from sandbox.control import Control, Message
from sandbox.errors import Ended, StartFailed
from sandbox.forks import Forks
from sandbox.instance import Instance, Parent
from sandbox.kits import Kit, Kits
from sandbox.quarters import Quarters
from sandbox.reports import Reports
from sandbox.spec import FunctionSpec
from sandbox.zygote import REQUEST_LIMIT_S


class Origin(Parent, Protocol):
    """The template, as far as its instances depend on it."""

    spec: FunctionSpec
    pid: int
    rss_kb: int
    own_kb: int
    anonymous_kb: int
    loaded: Message

    @property
    def must_become(self) -> bool:
        """Whether it becomes an instance instead of forking one."""

    @property
    def ended(self) -> str | None:
        """Why it forks no more."""

    def became(self) -> int:
        """It is an instance now. Returns another pidfd of it."""

    def kill(self, reason: str) -> None:
        """End its process, which broke a rule."""


class Offspring:
    """The instances of `origin`. `connect` comes first."""

    def __init__(self, origin: Origin, commons: Commons, quarters: Quarters) -> None:
        self.instances: dict[int, Instance] = {}
        """Those that are not buried yet, by number."""
        self._origin = origin
        self._commons = commons
        self._quarters = quarters
        self._kits = Kits(origin.spec, commons, quarters)
        """Prepared for the next instance when another is gone; none once the template forks no more."""
        self._reports = Reports(self.instances, origin.kill)

    def connect(self, control: Control) -> None:
        """The template is there, and answers."""
        self._control = control
        self._forks = Forks(control)

    def reported(self, message: Message) -> None:
        """The template says what it was not asked for: that it has buried instances."""
        self._reports.take(message)

    async def make(self, learnt: Learnt | None, *, ahead: bool, calls: int | None) -> tuple[Instance, int | None]:
        """A new instance, and its exit code if the template reported its end before its birth.

        Raises Ended, StartFailed.
        """
        origin = self._origin
        spec, becomes = origin.spec, origin.must_become
        kit = await self._kits.take()
        learnt = None if becomes else learnt
        forking = self._reports.forking
        forking[kit.n] = None
        origin.group.allow_instances(len(self.instances) + len(forking), spec, origin.own_kb)
        request = kit.request(None if learnt is None else spec.rehearsal, ahead=ahead, calls=calls)
        try:
            with kit.channels:
                pid, pidfd = await (self._become if becomes else self._fork)(kit, request)
        except BaseException:
            self._quarters.remove_folder(kit.folder)
            raise
        finally:
            code = forking.pop(kit.n)
        shares_memory = spec.runtime.abilities.imports_ahead  # else it has executed another program
        body = Body(
            kit.identity,
            pid or 0,
            pidfd,
            kit.channels,
            kit.folder,
            origin.rss_kb if shares_memory else None,
            origin.anonymous_kb if shares_memory else 0,
            origin.loaded.asynchronous,
            loaded_kb=origin.own_kb if becomes else 0,
            learnt=learnt,
        )
        instance = self.instances[kit.n] = Instance(spec, body, self._commons, origin)
        return instance, code

    async def _fork(self, kit: Kit, request: dict[str, object]) -> tuple[int | None, int]:
        origin = self._origin
        answer, fds = await self._control.request(
            {"t": "fork", **request}, kit.channels.guest_fds, limit_s=REQUEST_LIMIT_S, post=self._forks.post
        )
        if answer.t == "error":
            close_all(fds)
            why = origin.group.why_no_fork(answer.errno, origin.spec.containment)
            raise StartFailed(f"no instance of {origin.spec.name!r} could be forked: {why}")
        try:
            return self._commons.verified(fds, origin.pid, origin.spec.containment.uid)
        except processes.Forged as error:
            self._control.close(f"it answered with the pidfd of another process: {error}")
            raise Ended(origin.ended) from None

    async def _become(self, kit: Kit, request: dict[str, object]) -> tuple[int | None, int]:
        _, fds = await self._control.request(
            {"t": "become", **request}, kit.channels.guest_fds, limit_s=REQUEST_LIMIT_S
        )
        close_all(fds)
        return self._origin.pid, self._origin.became()

    def dismiss(self) -> None:
        """Let all finish their calls and leave."""
        for instance in tuple(self.instances.values()):
            instance.leave()

    def unburied(self) -> list[Instance]:
        """Those that are dead and not buried yet."""
        return [instance for instance in self.instances.values() if instance.is_dead]

    def forget(self, instance: Instance, folder: Path, *, keeps_folder: bool) -> None:
        """One is buried. Its folder may be for the next one."""
        for n in [n for n, other in self.instances.items() if other is instance]:
            del self.instances[n]
        if keeps_folder:
            self._kits.put_back(folder)
        else:
            self._quarters.remove_folder(folder)

    def withdraw(self) -> None:
        """No more will be made: remove what was prepared for the next one."""
        self._kits.drop()

    def finish_reports(self) -> None:
        """The template is dead: bury all that it has reported."""
        self._reports.finish()
