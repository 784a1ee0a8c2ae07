"""Where the processes of one template live: on the host, or in a box. Both have the same interface.

Theory of operation. Each process has a private folder. On the host the server makes it and removes it. In a box it lies
in the box's own /tmp, where the server can neither make nor remove anything: the template does, and the rest goes with
the box. Whatever an instance leaves behind on the host, its template or the zygote has to find and kill. In a box each
instance is the first process of a pid namespace, so the kernel has killed all that it started before it is dead itself.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import anyio
import anyio.to_thread

from sandbox import box, network, processes
from sandbox.box import Box
from sandbox.channels import close_all
from sandbox.commons import Commons
from sandbox.containment import Level
from sandbox.control import Control
from sandbox.errors import LoadFailed, StartFailed
from sandbox.guest._forklight.wire import MAX_DESCRIPTORS
from sandbox.holder import Holder, open_box
from sandbox.network import Door
from sandbox.spec import FunctionSpec
from sandbox.usage import Meter
from sandbox.zygote import REQUEST_LIMIT_S, Zygote


class Quarters(Protocol):
    """Where the processes of one template live."""

    guest_makes_folders: bool
    """Whether private folders are made by the guest, in a box, or by the server."""

    async def open(self) -> None:
        """Prepare for the first process. Raises LoadFailed and StartFailed."""

    async def connect(self, control: Control) -> None:
        """Have the template, which has run nothing of the function so far, prepare for the network.

        Raises LoadFailed, StartFailed and Ended.
        """

    def watch(self, pid: int, lost: Callable[[str], None]) -> None:
        """The template `pid` lives there. `lost` gets the reason if everything there ends before `close`."""

    def box(self) -> Box | None:
        """The box that the template enters. Raises StartFailed if it has ended."""

    def held_kb(self) -> int:
        """The memory of the processes that keep it open."""

    def close(self, closed: Callable[[], None]) -> None:
        """End whatever is left, then call `closed`."""

    async def new_folder(self) -> Path:
        """A private folder for a new process. Raises StartFailed."""

    def is_untouched(self, folder: Path) -> bool:
        """Whether another process can have the folder of a dead one."""

    def remove_folder(self, folder: Path) -> None:
        """Its process is dead."""

    def renew_folder(self, folder: Path, give: Callable[[Path | OSError], object]) -> None:
        """Remove the folder and `give` a new one."""

    def files_kb(self) -> int:
        """The memory of all files that the processes have written there, in KiB."""

    async def clear(self, *, is_last: bool) -> None:
        """Ensure the death of all that dead instances started whose template does not. `is_last`: none is alive."""

    def end_of(self, pid: int, pidfd: int, meter: Meter) -> int | None:
        """The exit code of such an instance, once that is clear; None if it is unknown."""


def quarters(spec: FunctionSpec, zygote: Zygote, commons: Commons) -> Quarters:
    """Those of a new template, as its containment says."""
    if spec.containment.level is Level.NAMESPACES:
        return InBox(spec, zygote, commons)
    return OnHost(spec, zygote, commons)


class OnHost:
    """No box."""

    guest_makes_folders = False

    def __init__(self, spec: FunctionSpec, zygote: Zygote, commons: Commons) -> None:
        self._function, self._uid = spec.name, spec.containment.uid
        self._zygote = zygote
        self._commons = commons

    async def open(self) -> None:
        """There is nothing to open."""

    async def connect(self, control: Control) -> None:
        """It has the network of the host."""

    def watch(self, pid: int, lost: Callable[[str], None]) -> None:
        """There is nothing that could end."""

    def box(self) -> None:
        """There is none."""

    def held_kb(self) -> int:
        """There are none."""
        return 0

    def close(self, closed: Callable[[], None]) -> None:
        """There is nothing to close."""
        closed()

    async def new_folder(self) -> Path:
        """A folder on the host."""
        return await self._commons.new_folder(self._function, self._uid)

    def is_untouched(self, folder: Path) -> bool:
        """Whether it is as it was made."""
        return self._commons.is_untouched(folder, self._uid)

    def remove_folder(self, folder: Path) -> None:
        """Remove it, whatever was left in it."""
        self._commons.remove_folder(folder)

    def renew_folder(self, folder: Path, give: Callable[[Path | OSError], object]) -> None:
        """Do both in a later turn of the loop."""
        self._commons.renew_folder(folder, self._function, give, self._uid)

    def files_kb(self) -> int:
        """Files are on a disk, or counted with the process that has them open."""
        return 0

    async def clear(self, *, is_last: bool) -> None:
        """The zygote has adopted the instances: it reaps them, and kills everything that they left behind."""
        await self._zygote.sweep()

    def end_of(self, pid: int, pidfd: int, meter: Meter) -> int | None:
        """As the zygote has told."""
        return self._zygote.take_end(pid, meter)


class InBox:
    """A box of its own for each template."""

    guest_makes_folders = True

    def __init__(self, spec: FunctionSpec, zygote: Zygote, commons: Commons) -> None:
        self._spec = spec
        self._zygote = zygote
        self._commons = commons
        self._holder: Holder | None = None
        self._template_pid = 0
        self._forward: int | None = None

    async def open(self) -> None:
        """Have a holder open the box."""
        spec, zygote = self._spec, self._zygote
        try:
            etc = self._commons.etc.current or await anyio.to_thread.run_sync(self._commons.etc.refresh)
        except OSError as error:
            raise StartFailed(f"no box could be opened: {error.filename}: {error.strerror}") from None
        readable = zygote.readable(spec)
        options = await anyio.to_thread.run_sync(box.options, spec.containment, readable, etc)  # it follows many paths
        files = box.files(spec.containment).values()
        self._holder = await open_box(options, self._commons.account, spec.containment.uid, files)

    async def connect(self, control: Control) -> None:
        """Forward what connects to its places: the template gives away the sockets at which it listens for that."""
        places = self._spec.containment.network
        if not network.has_doors(self._spec.containment) or isinstance(places, bool):
            return
        doors, sockets = network.doors(places), list[int]()
        try:
            for at in range(0, len(doors), MAX_DESCRIPTORS):
                sockets += await _listening(control, doors[at : at + MAX_DESCRIPTORS])
        except BaseException:
            close_all(sockets)
            raise
        spec = self._spec
        self._forward = await self._commons.forwarding.open(spec.name, spec.runtime, doors, sockets)

    def watch(self, pid: int, lost: Callable[[str], None]) -> None:
        """The box ends by itself if its first process is killed."""
        self._template_pid = pid
        if self._holder is not None:
            self._holder.on_lost = lost

    def box(self) -> Box:
        """The open box."""
        if self._holder is None:
            raise StartFailed("the box is not open")
        return self._holder.box()

    def held_kb(self) -> int:
        """That of the holder, some 300 KiB, without what all holders share."""
        return 0 if self._holder is None else self._holder.held_kb

    def close(self, closed: Callable[[], None]) -> None:
        """End the box, with whatever is left in it."""
        self._commons.tasks.start_soon(self._close, closed)

    async def _close(self, closed: Callable[[], None]) -> None:
        with anyio.CancelScope(shield=True):
            await self._end()
        if self._forward is not None:
            self._commons.forwarding.release(self._forward)
        closed()

    async def _end(self) -> None:
        """End the box. Its first process cannot end before somebody has reaped the template, which is dead."""
        if self._holder is not None:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._reap_in_place_of_zygote)
                await self._holder.close()
                tasks.cancel_scope.cancel()

    async def _reap_in_place_of_zygote(self) -> None:
        """Once it is gone, the server itself adopts the template, if it is the first process of a container."""
        await self._zygote.gone.wait()
        processes.reap_adopted(self._template_pid)

    async def new_folder(self) -> Path:
        """One that the guest makes, in the /tmp of the box. No name is used twice."""
        return self._new_folder()

    def _new_folder(self) -> Path:
        return Path("/tmp", f"{self._spec.name}-{self._commons.number()}")  # noqa: S108

    def is_untouched(self, folder: Path) -> bool:
        """Its template removes it."""
        return False

    def remove_folder(self, folder: Path) -> None:
        """Its template has removed it, or it goes with the box."""

    def renew_folder(self, folder: Path, give: Callable[[Path | OSError], object]) -> None:
        """Only a new name is needed."""
        give(self._new_folder())

    def files_kb(self) -> int:
        """Of its /tmp and /dev/shm."""
        return 0 if self._holder is None else self._holder.files_kb()

    async def clear(self, *, is_last: bool) -> None:
        """All that an instance started died before it did, unless it was a template: then the box ends with it."""
        if is_last:
            await self._end()
            await self._zygote.sweep()  # which has reaped it, and tells how it ended

    def end_of(self, pid: int, pidfd: int, meter: Meter) -> int | None:
        """As the zygote has told of one that was a template, else as the kernel knows."""
        end = self._zygote.take_end(pid, meter)
        return processes.exit_code(pidfd) if end is None else end


async def _listening(control: Control, doors: Sequence[Door]) -> list[int]:
    """The sockets at which the template listens for these places. Raises LoadFailed and Ended."""
    at = [[door.address, door.port] for door in doors]
    answer, fds = await control.request({"t": "listen", "n": 0, "at": at}, limit_s=REQUEST_LIMIT_S)
    if answer.t != "listening" or len(fds) != len(doors):
        close_all(fds)
        raise LoadFailed("InitFailed", f"no network of its own: {answer.message or 'its template did not listen'}")
    return fds
