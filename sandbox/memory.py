"""The memory of an instance: its own process, all processes below it, and files that exist in memory only.

Theory of operation. A cheap upper bound is usually enough: the resident pages of the process beyond those of its
template, plus, for each process below it, all pages that do not belong to files. Only when the bound is over the limit
are the pages subtracted that forked processes merely share (smaps_rollup, proc(5)). Of processes that cannot be
inspected, only root can read smaps_rollup and see files of memfd or /dev/shm that are open but not mapped; without
root, a forked process counts with what it has beyond its parent.
"""

import contextlib
import os

from sandbox.processes import memory_kb, read_proc

_SHM = "/dev/shm"  # noqa: S108  measured, never written to
_MOST_PROCESSES = 1000


def excess(use: "Use", limit_bytes: int, *, fully: bool) -> str | None:
    """A message if a process uses more than its limit, else None.

    `fully`: check each open file, too, which takes about a millisecond for 500 descriptors.
    """
    limit_kb = limit_bytes // 1024
    unmapped_kb = use.unmapped_kb() if fully else 0
    if use.at_most_kb() + unmapped_kb <= limit_kb or (peak_kb := use.close_kb() + unmapped_kb) <= limit_kb:
        return None
    message = too_much(peak_kb, limit_bytes)
    if use.own_kb > limit_kb:
        return message
    below_mib = (peak_kb - unmapped_kb - use.own_kb) // 1024
    if below_mib > unmapped_kb // 1024:
        return f"{message}, {below_mib} MiB of it in processes that it started"
    return f"{message}, {unmapped_kb // 1024} MiB of it in files in memory (memfd, /dev/shm)"


def too_much(used_kb: int, limit_bytes: int) -> str:
    """What is said of an instance that has more than its limit."""
    return f"the instance used more than its {limit_bytes >> 20} MiB of memory: {used_kb >> 10} MiB at its peak"


def own_kb(pid: int, shared_kb: int | None) -> int:
    """The memory of a process beyond what it shares with its template; 0 if it is gone.

    None: it shares nothing, as another program than its template, whose file all that run it have in common.
    """
    if shared_kb is None:
        return _anonymous_kb(pid)
    return max(0, (memory_kb(pid) or 0) - shared_kb)


def has_children(pid: int) -> bool:
    """Whether there are processes below it."""
    return bool(_children(pid))


def below_kb(pid: int) -> int:
    """The memory of all processes below it that belongs to no file on disk."""
    return sum(map(_anonymous_kb, _below(pid)))


class Use:
    """The memory of a process and all below it at one moment. `shared_kb` as in `own_kb`."""

    def __init__(self, pid: int, shared_kb: int | None) -> None:
        self.own_kb = own_kb(pid, shared_kb)
        self._pid = pid
        self._close_kb: int | None = None
        self._below = _below(pid)
        self._anonymous_kb = {one: _anonymous_kb(one) for one in (pid, *self._below)} if self._below else {}

    def at_most_kb(self) -> int:
        """A cheap upper bound."""
        return self.own_kb + sum(self._anonymous_kb[one] for one in self._below)

    def close_kb(self) -> int:
        """The exact use, as far as this user can read it. Waits for processes that fork."""
        if self._close_kb is None:
            below_kb = sum(self._private_kb(one, parent) for one, parent in self._below.items())
            self._close_kb = self.own_kb + below_kb
        return self._close_kb

    def unmapped_kb(self) -> int:
        """The size of the files in memory that are open but not mapped; 0 if this user cannot see them."""
        files: dict[tuple[int, int], int] = {}
        for one in (self._pid, *self._below):
            files |= _files_in_memory(one)
        mapped_kb = sum(_field_kb(one, b"RssShmem") for one in (self._pid, *self._below)) if files else 0
        return max(0, sum(files.values()) - mapped_kb)

    def _private_kb(self, pid: int, parent: int) -> int:
        """The pages of a descendant that it alone has written to."""
        try:
            text = read_proc(f"/proc/{pid}/smaps_rollup")
        except OSError:  # not inspectable, so it was forked and has called no exec since
            return max(0, self._anonymous_kb[pid] - self._anonymous_kb[parent])
        return _number_kb(text, b"Private_Dirty") + _number_kb(text, b"Swap")


def _below(pid: int) -> dict[int, int]:
    """All descendants, each with its parent."""
    found: dict[int, int] = {}
    ahead = [pid]
    while ahead and len(found) < _MOST_PROCESSES:
        parent = ahead.pop()
        children = _children(parent)
        found |= dict.fromkeys(children, parent)
        ahead += children
    return found


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):
        # Three links: `.`, `..` and the only thread, which saves listing them.
        tasks = [str(pid)] if os.stat(f"/proc/{pid}/task").st_nlink <= 3 else os.listdir(f"/proc/{pid}/task")
        for task in tasks:
            with contextlib.suppress(OSError):
                listed = read_proc(f"/proc/{pid}/task/{task}/children")
                found += map(int, listed.rpartition(b" ")[0].split())  # a space follows each whole pid
    return found


def _anonymous_kb(pid: int) -> int:
    """The resident memory that belongs to no file on disk."""
    return _field_kb(pid, b"RssAnon") + _field_kb(pid, b"RssShmem")


def _field_kb(pid: int, name: bytes) -> int:
    try:
        return _number_kb(read_proc(f"/proc/{pid}/status"), name)
    except OSError:
        return 0


def _number_kb(text: bytes, name: bytes) -> int:
    """The number in a line such as `RssAnon:      1234 kB`; 0 if there is no such line."""
    start = text.find(b"\n" + name + b":")
    if start < 0:
        return 0
    return int(text[start + len(name) + 2 : text.index(b"kB", start)])


def _files_in_memory(pid: int) -> dict[tuple[int, int], int]:
    """The size in KiB of each file of memfd_create and of /dev/shm that the process has open, by device and inode."""
    found: dict[tuple[int, int], int] = {}
    with contextlib.suppress(OSError):
        devices = _memory_devices()
        for fd in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                status = os.stat(f"/proc/{pid}/fd/{fd}")
                if status.st_dev in devices:
                    found[status.st_dev, status.st_ino] = status.st_blocks // 2  # blocks of 512 bytes
    return found


def _memory_devices() -> set[int]:
    """The devices of the kernel's own files in memory (memfd) and of /dev/shm."""
    file = os.memfd_create("device")
    try:
        devices = {os.fstat(file).st_dev}
    finally:
        os.close(file)
    if os.path.ismount(_SHM):
        devices.add(os.stat(_SHM).st_dev)
    return devices
