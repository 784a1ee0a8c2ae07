"""What all processes of one tree share in the dispatcher: the sweep, the log's way out, the user, private folders."""

import contextlib
import itertools
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import anyio
import anyio.abc
import anyio.to_thread

from sandbox import processes
from sandbox.launch import Account
from sandbox.logs import LogSink
from sandbox.sweep import Sweep


class Commons:
    """Made once per tree, and given to every zygote, template and instance in it."""

    def __init__(self, account: Account, guest: Path, folders: Path, sink: LogSink, tasks: anyio.abc.TaskGroup) -> None:
        self.account = account
        self.guest = guest
        """The directory the zygotes run, readable for `account`."""
        self.sink = sink
        self.tasks = tasks
        self.sweep = Sweep()
        self.pids: set[int] = set()
        """Every live process of ours below the dispatcher: no pidfd of a guest may claim one of them again."""
        self._folders = folders
        self._numbers = itertools.count(1)

    def number(self) -> int:
        """A number never given before in this tree."""
        return next(self._numbers)

    def verified(self, fds: list[int], parent_pid: int) -> tuple[int | None, int]:
        """The (pid or None if it is dead on arrival, pidfd) that a guest answered with. Raises Forged, all closed."""
        try:
            if len(fds) != 1:
                raise processes.Forged(f"{len(fds)} descriptors instead of one pidfd")
            pid = processes.verify(fds[0], parent_pid=parent_pid, uid=self.account.uid, known=self.pids)
        except processes.Forged:
            close_all(fds)
            raise
        if pid is not None:
            self.pids.add(pid)
        return pid, fds[0]

    def make_folder(self, name: str) -> Path:
        """A private folder for one process; it belongs to `account` and nobody else can look inside."""
        folder = self._folders / name
        folder.mkdir(mode=0o700)
        if self.account.switch:
            os.chown(folder, self.account.uid, self.account.gid)
        return folder

    def remove_folder(self, folder: Path) -> None:
        """Remove a dead process's folder; at once if it is empty, else in a thread."""
        with contextlib.suppress(FileNotFoundError):
            try:
                folder.rmdir()
            except OSError:
                self.tasks.start_soon(self._remove_tree, folder)

    async def _remove_tree(self, folder: Path) -> None:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(remove_tree, folder)


def close_all(fds: Iterable[int]) -> None:
    """Close descriptors that came with a message."""
    for fd in fds:
        with contextlib.suppress(OSError):
            os.close(fd)


def remove_tree(folder: Path) -> None:
    """Remove a folder of a dead process, also when its user took away permissions inside it."""
    shutil.rmtree(folder, onerror=lambda _call, path, _error: _open_up_and_retry(path))
    if folder.exists():
        shutil.rmtree(folder, ignore_errors=True)


def _open_up_and_retry(path: str) -> None:
    """rmtree could not list or unlink something: give its parent and itself back their permissions."""
    for entry in (os.path.dirname(path), path):
        if os.path.isdir(entry) and not os.path.islink(entry):
            with contextlib.suppress(OSError):
                os.chmod(entry, 0o700)
