"""The server's half of a zygote: start it, have it fork templates and sweep orphans, notice its end."""

import asyncio
import errno
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import anyio

from bus.outcome import ExceptionName, LoadCode
from sandbox import processes
from sandbox.box import Box
from sandbox.channels import Channels, close_all
from sandbox.commons import Commons
from sandbox.confinement import Confinement, confinement
from sandbox.control import Control, Message
from sandbox.errors import Ended, LoadFailed, StartFailed
from sandbox.launch import LOG_BYTES, Spawned, become
from sandbox.logs import LogPipe
from sandbox.readable import readable, there
from sandbox.spec import FunctionSpec, Runtime
from sandbox.usage import Held, Meter

REQUEST_LIMIT_S = 5.0
"""For requests that take milliseconds. A zygote or template that needs longer is stuck, and is killed."""
SWEEP_LIMIT_S = 3.0
"""A sweep does not wait longer for processes that the kernel cannot end."""

_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM)
"""Errors that may pass: the machine is short of descriptors, processes or memory."""
MOST_REAPED = 1000
"""How many ends to keep. Those of daemons that outlived their instance are never taken out."""


class Reaped(NamedTuple):
    """How a process ended that the zygote has reaped. `code`: its exit code, or minus the signal."""

    code: int
    cpu_ns: int
    """CPU time, that of all processes below it included that were waited for"""


class Zygote:
    """One live zygote of one runtime. When it dies, its templates retire."""

    def __init__(self, runtime: Runtime, commons: Commons) -> None:
        self.runtime = runtime
        self.rss_kb = 0
        self._libraries: tuple[Path, ...] = ()
        """The folders of its Python, and where that looks for modules."""
        self.has_lazy_imports = False
        """Whether its Python may put imports off (PEP 810)."""
        self.ended: str | None = None
        """Why it can no longer be used, or None while it can."""
        self.gone = anyio.Event()
        """Set once the process is dead and reaped."""
        self.on_end: Callable[[Zygote], None] = lambda _zygote: None
        self.on_gone: Callable[[Zygote], None] = lambda _zygote: None
        self._reaped: dict[int, Reaped] = {}
        """By pid, until `take_end`."""
        self._commons = commons
        self._held = Held(commons.meters.zygotes)
        self._stopping = False
        try:
            spawned = Spawned(runtime, commons.guest, become(commons.account), shares_input=commons.shares_input)
        except OSError as error:
            message = f"cannot start {runtime.python}: {error.strerror}"
            if error.errno in _NO_ROOM:
                raise StartFailed(message) from None
            raise LoadFailed("InitFailed", message) from None
        self.pid, self.pidfd, self._lifeline = spawned.pid, spawned.pidfd, spawned.lifeline
        commons.pids.add(self.pid)
        self._log = LogPipe(spawned.log, "", f"zygote {runtime.name}", LOG_BYTES, commons.log_turns)
        self._control = Control(spawned.socket, self._on_message, self._on_control_end)
        asyncio.get_running_loop().add_reader(self.pidfd, self._died)

    def __repr__(self) -> str:
        state = "gone" if self.gone.is_set() else "live" if self.ended is None else "ending"
        return f"<Zygote {self.runtime.name} {state} pid={self.pid}>"

    async def preload(self, limit_s: float) -> None:
        """Wait until the libraries are loaded. Raises LoadFailed; the zygote is then dead or dying."""
        begun_ns = time.monotonic_ns()
        request: dict[str, object] = {"t": "preload", "n": 0, "preload": self.runtime.preload}
        request["filter"] = self._commons.account.filter.hex()
        try:
            hello, fds = await self._control.request(request, limit_s=limit_s)
        except Ended as error:
            raise LoadFailed("InitFailed", f"runtime {self.runtime.name!r} did not start: {error}") from None
        except BaseException:
            self._control.close("its start was cancelled")
            raise
        close_all(fds)
        wrong = _complaint(hello, self.runtime)
        if wrong is not None:
            self._control.close(wrong)
            code: LoadCode | ExceptionName
            code = ExceptionName(str(hello.code)) if hello.t == "failed" else "InitFailed"
            raise LoadFailed(code, f"runtime {self.runtime.name!r}: {wrong}")
        self.rss_kb = hello.rss_kb
        self.boot_ns = time.monotonic_ns() - begun_ns
        self._held.begin(time.monotonic_ns())
        self._held.read(self.rss_kb, time.monotonic_ns())
        named = dict.fromkeys((hello.prefix, hello.base_prefix, *hello.path))
        self._libraries = there(map(Path, named), self._commons.state)
        self.has_lazy_imports = hello.version >= (3, 15, 0)

    async def fork_template(
        self, n: int, channels: Channels, box: Box | None, uid: int | None
    ) -> tuple[int | None, int]:
        """Fork a template that gets the guest's ends of `channels`; returns (pid, or None if dead on arrival; pidfd).

        `uid`: the function's own user, if it has one.

        Raises Ended, or StartFailed if the machine has no room for another process.
        """
        account = self._commons.account
        request: dict[str, object] = {"t": "template", "n": n, "user": account.uids and account.user_of(uid)}
        fds = [*channels.guest_fds]
        if box is not None:
            request["namespaces"] = box.namespaces
            fds.append(box.pidfd)
        answer, got = await self._control.request(request, fds, limit_s=REQUEST_LIMIT_S)
        if answer.t == "error":
            close_all(got)
            who = "" if uid is None else f" as the user {uid}"
            raise StartFailed(f"no template could be forked{who}: {os.strerror(answer.errno)}")
        try:
            return self._commons.verified(got, self.pid, uid)
        except processes.Forged as error:
            self._control.close(f"it answered with the pidfd of another process: {error}")
            raise Ended(self.ended) from None

    def confinement(self, spec: FunctionSpec) -> Confinement | None:
        """What a template of this function does to itself before it imports it. Raises LoadFailed."""
        return confinement(spec.containment, self.readable(spec), self._commons.folder_of(spec.name))

    def readable(self, spec: FunctionSpec) -> tuple[Path, ...]:
        """What the processes of a function read besides the system's files and its mounts."""
        return readable(spec, self._commons.guest, self._libraries, self._commons.state)

    async def sweep(self) -> None:
        """Have it kill and reap all that it adopted except live instances; returns when they are gone.

        The zygote names what it has, and the server names what is to die: a list of what to keep would also kill an
        instance that was started and orphaned in the meantime. Each process that ends may leave orphans in turn, so
        this repeats until none is left, or for `SWEEP_LIMIT_S`. A dead zygote has no children, and needs no sweep.
        """
        unwanted: list[int] = []
        end = time.monotonic() + SWEEP_LIMIT_S
        while time.monotonic() < end:
            request: dict[str, object] = {"t": "sweep", "n": self._commons.number(), "kill": unwanted}
            try:
                swept, fds = await self._control.request(request, limit_s=REQUEST_LIMIT_S)
            except Ended:
                return
            close_all(fds)
            unwanted = [pid for pid in swept.left if pid not in self._commons.pids]
            if not unwanted:
                return

    def take_end(self, pid: int, meter: Meter) -> int | None:
        """The exit code of a process that it has reaped, whose CPU time goes to `meter`; None if that is unknown."""
        end = self._reaped.pop(pid, None)
        if end is None:
            return None
        meter.ended_cpu_ns += end.cpu_ns
        return end.code

    async def stop(self) -> None:
        """Have it kill and reap everything below it, then exit; kill it if that takes too long."""
        self._stopping = True
        self._control.close("stopped")
        with anyio.move_on_after(REQUEST_LIMIT_S):
            await self.gone.wait()
        if not self.gone.is_set():
            processes.kill(self.pidfd)
            await self.gone.wait()

    def _on_message(self, message: Message) -> None:
        if message.t == "exited" and isinstance(message.code, int):
            self._reaped[message.pid] = Reaped(message.code, int(message.cpu_ms * 1e6))
            if len(self._reaped) > MOST_REAPED:
                del self._reaped[next(iter(self._reaped))]

    def _on_control_end(self, reason: str) -> None:
        self.ended = reason
        if not self._stopping:
            processes.kill(self.pidfd)
        self.on_end(self)

    def _died(self) -> None:
        asyncio.get_running_loop().remove_reader(self.pidfd)
        self._commons.pids.discard(self.pid)
        self._control.close("the zygote died")
        self._log.close()
        close_all((self.pidfd, self._lifeline))
        self._commons.meters.ended_zygotes_cpu_ns += processes.cpu_ns(self.pid, alone=True)
        os.waitpid(self.pid, 0)
        self._held.end(time.monotonic_ns())
        self.gone.set()
        self.on_gone(self)


def _complaint(hello: Message, runtime: Runtime) -> str | None:
    """What is wrong with the first message of a zygote, or None."""
    if hello.t == "failed":
        return hello.message
    if runtime.prefix is not None and Path(hello.prefix) != runtime.prefix:
        return f"it runs with prefix {hello.prefix}, not {runtime.prefix}: can its user read that folder?"
    left = [f"{hello.threads} threads"] if hello.threads > 1 else list(hello.unsafe)
    if left:
        return f"preloading {', '.join(runtime.preload)} left {', '.join(left)}, so forking would be unsafe"
    return None
