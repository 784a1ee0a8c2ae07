"""What all processes of one tree share in the server: the sweep, the sink of the logs, the user, private folders."""

import asyncio
import contextlib
import errno
import itertools
import os
import stat
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from socket import SocketKind
from typing import TypeVar

import anyio
import anyio.abc
import anyio.to_thread

from sandbox import processes
from sandbox.cgroups import Groups
from sandbox.channels import Channels, close_all
from sandbox.errands import Errands
from sandbox.errors import StartFailed
from sandbox.etc_folder import EtcFolder
from sandbox.folders import remove_tree
from sandbox.forwarding import Forwarding
from sandbox.group import Group
from sandbox.launch import Account
from sandbox.log_lines import LogLine
from sandbox.logs import LogSink, LogTurns
from sandbox.spec import FunctionSpec
from sandbox.sweep import Sweep
from sandbox.usage import Meters

_MOST_TRIES = 10
"""Two threads make and remove the folder of a function; more rounds than that only a hostile function causes."""


T = TypeVar("T")

MOST_MEASURED = 8
"""How many instances with processes below them are measured at a time."""


class Commons:
    """Created once per tree and passed to every zygote, template and instance."""

    def __init__(
        self,
        account: Account,
        guest: Path,
        folders: Path,
        sink: LogSink,
        tasks: anyio.abc.TaskGroup,
        *,
        groups: Groups,
        shares_input: bool = False,
    ) -> None:
        self.account = account
        self.guest = guest
        """The directory of the guest's code, readable for `account`."""
        self.log_turns = LogTurns(sink)
        self.tasks = tasks
        self.groups = groups
        """The control groups, in which each template gets one."""
        self.shares_input = shares_input
        """Whether functions read the server's standard input instead of an empty one."""
        self.sweep = Sweep()
        self.meters = Meters()
        self.pids: set[int] = set()
        """The live processes of the tree: no later pidfd from a guest may claim one of them."""
        self.etc = EtcFolder(folders)
        self._folders = folders
        self.state = folders.parent
        """Where the folders lie, beside the code of all functions."""
        self._has_made_folders = False
        self._measuring = anyio.CapacityLimiter(MOST_MEASURED)
        self._making, self._removing = Errands(tasks), Errands(tasks)  # a folder can take long to remove, none to make
        self._numbers = itertools.count(1)
        self.forwarding = Forwarding(account, guest, tasks, self.log_turns, self.number)

    def number(self) -> int:
        """A number that was never returned before in this tree."""
        return next(self._numbers)

    def verified(self, fds: list[int], parent_pid: int, uid: int | None = None) -> tuple[int | None, int]:
        """Verify the one pidfd of a guest's answer; returns (pid, or None if dead on arrival; pidfd).

        `uid`, here and below: the function's own user, None for that of all functions.

        Raises Forged; all of `fds` are closed then.
        """
        try:
            if len(fds) != 1:
                raise processes.Forged(f"{len(fds)} descriptors instead of one pidfd")
            own, _ = self.account.user_of(uid)
            pid = processes.verify(fds[0], parent_pid=parent_pid, uid=own, known=self.pids)
        except BaseException:  # also OSError, if no descriptor is left to read /proc with
            close_all(fds)
            raise
        if pid is not None:
            self.pids.add(pid)
        return pid, fds[0]

    def report(self, function: str, text: str, level: str = "error") -> None:
        """Log something outside any call to the function's log."""
        self.log_turns.sink(LogLine(function, "", None, f"[forklight] {text}", level))

    def equip(self, kind: SocketKind) -> Channels:
        """The channels of a new process. Raises StartFailed if they cannot be created."""
        try:
            return Channels(kind)
        except OSError as error:
            raise StartFailed(f"no descriptors for a new process: {error.strerror}") from None

    def folder_of(self, function: str) -> Path:
        """Where the private folders of all processes of a function lie, and nothing else. It goes with the last."""
        return self._folders / function

    async def new_folder(self, function: str, uid: int | None = None) -> Path:
        """Like `make_folder`, in a thread: a journaling file system may take 20 ms for it. Raises StartFailed."""
        made: asyncio.Future[Path | OSError] = asyncio.get_running_loop().create_future()

        def hand_over(found: Path | OSError) -> None:
            if made.cancelled():
                self._drop(found)
            else:
                made.set_result(found)

        self._making.run(partial(self._try_folder, function, uid), hand_over)
        try:
            found = await made
        except asyncio.CancelledError:
            if made.done() and not made.cancelled():
                self._drop(made.result())
            raise
        if isinstance(found, OSError):
            raise StartFailed(f"no private folder in {self._folders}: {found.strerror}")
        return found

    def _try_folder(self, function: str, uid: int | None) -> Path | OSError:
        try:
            return self.make_folder(function, uid)
        except OSError as error:
            return error

    def _drop(self, found: Path | OSError) -> None:
        """Nobody waits for this folder any more."""
        if isinstance(found, Path):
            self.remove_folder(found)

    def make_folder(self, function: str, uid: int | None = None) -> Path:
        """Create a private folder for one process, owned by its user and closed to all others. Blocks.

        Its random name cannot be taken in advance. The folders around it are created again if they are gone: that of
        the function is removed with the last of its processes, and the functions of an ordinary user can remove both.
        """
        for _ in range(_MOST_TRIES):
            with contextlib.suppress(FileNotFoundError):
                folder = Path(tempfile.mkdtemp(dir=self.folder_of(function)))
                break
            self._make_folder_of(function)
        else:
            raise FileNotFoundError(errno.ENOENT, "it is removed as soon as it is made")
        self._has_made_folders = True
        if self.account.switch:
            os.chown(folder, *self.account.user_of(uid))
        return folder

    def _make_folder_of(self, function: str) -> None:
        if self._has_made_folders:
            self._folders.mkdir(mode=0o700, exist_ok=True)
        folder = self.folder_of(function)
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
            if self.account.switch:
                folder.chmod(0o711)  # it stays the server's, so that no function can put anything beside its folders

    def is_untouched(self, folder: Path, uid: int | None = None) -> bool:
        """Whether a dead process has left its private folder as it was made, so that another can have it."""
        try:
            found = os.lstat(folder)
            with os.scandir(folder) as entries:
                is_empty = next(entries, None) is None
            is_plain = is_empty and not os.listxattr(folder)
        except OSError:
            return False
        return is_plain and found.st_mode == stat.S_IFDIR | 0o700 and found.st_uid == self.account.user_of(uid)[0]

    def measure(self, work: Callable[[], T], done: Callable[[T], object]) -> None:
        """Call `work` in a thread of its own, then `done` with its result in the event loop.

        It may take long, and is left to itself when the tree ends.
        """
        self.tasks.start_soon(self._measure, work, done)

    async def _measure(self, work: Callable[[], T], done: Callable[[T], object]) -> None:
        done(await anyio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=self._measuring))

    async def admit(self, group: Group, pid: int, spec: FunctionSpec) -> None:
        """Put a newborn template into its group, in a thread: that may take 13 ms. Raises StartFailed.

        `pid` 0: it was dead on arrival. Written to a group, that would mean the server itself.
        """
        if pid and group.exists:
            try:
                await anyio.to_thread.run_sync(group.admit, pid, spec)
            except OSError as error:
                why = f"{error.filename}: {error.strerror}"
                raise StartFailed(f"no control group for {spec.name!r}: {why}") from None

    def remove_group(self, group: Group) -> None:
        """Remove the group of a template that is gone, in a thread."""
        if group.exists:
            self._removing.run(group.remove, _ignore)

    def remove_folder(self, folder: Path) -> None:
        """Remove the folder of a dead process, in a thread."""
        self._removing.run(partial(_remove, folder), _ignore)

    def renew_folder(
        self, folder: Path, function: str, give: Callable[[Path | OSError], object], uid: int | None = None
    ) -> None:
        """Remove the folder of a dead process and `give` a new one, in a later turn of the loop."""

        def renew() -> Path | OSError:
            _remove(folder)
            return self._try_folder(function, uid)

        self._removing.run(renew, give)


def _remove(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:  # it is not empty, or gone
        remove_tree(folder)
    with contextlib.suppress(OSError):  # the function has other processes
        folder.parent.rmdir()


def _ignore(_nothing: object) -> None:
    """What follows a removal."""
