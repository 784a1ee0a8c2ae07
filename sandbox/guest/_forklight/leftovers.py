"""Kernel objects that an import has left open and that forks would share, and how instances deal with them.

A fork copies memory, but not the objects of the kernel: parent and child use the same open file description (open(2)),
the same epoll, the same connection. Whatever is open after the import and was not before is one of these:

| left open | in an instance |
|---|---|
| files and folders, read only | opened anew at the same place: a position of its own |
| files, write only (logs, lock files) | opened anew to append: nothing is overwritten, flock(2) works between them |
| files to read and write (SQLite, scratch files) | unsafe |
| the same under a flock, or in /dev/shm | shared and reported: another load would meet the lock, or the name |
| connections, pipes, socket pairs, raw sockets | unsafe: one instance would read what was meant for another |
| listening sockets, UDP and unix datagrams | shared and reported |
| epoll, inotify, eventfd, timerfd, signalfd, pidfd and the like | unsafe: one would take another's wake-up |
| null, zero, random devices; terminals | shared |
| other devices | unsafe |
| child processes that are alive | unsafe: only their parent can wait for them |
| locks of multiprocessing, shared memory | shared and reported: an instance that is killed never releases a lock |

If anything is unsafe, each instance loads the function itself, as it does if there are threads. The resource tracker of
multiprocessing is designed to be inherited, and does not count.
"""

import contextlib
import gc
import io
import os
import stat
import sys
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from . import sockets

_MAX_LISTED = 10
_MAX_CHARS = 200
_MADE_ONCE = os.O_CREAT | os.O_EXCL | os.O_TRUNC
_SHARED_MEMORY = "/dev/shm/"  # noqa: S108  a place to recognise, not to write to
_MEMORY_DEVICES, _TERMINALS = {1}, {4, 5, *range(136, 144)}  # major numbers, Documentation/admin-guide/devices.txt
_KINDS = {"eventpoll": "epoll (a selector or an event loop)"}


class Leftovers(NamedTuple):
    """What an import left open. `unsafe` and `shared` are descriptions, at most ten each."""

    unsafe: list[str]
    """What forbids forking."""
    shared: list[str]
    """What forks can share."""
    anew: dict[int, int]
    """Descriptor → the flags with which each fork opens it anew."""


def open_now() -> dict[int, str]:
    """Every descriptor of this process, and the kernel's name for it (proc(5))."""
    found = {}
    for fd in map(int, os.listdir("/proc/self/fd")):
        with contextlib.suppress(OSError):  # the descriptor of the listing itself
            found[fd] = os.readlink(f"/proc/self/fd/{fd}")
    return found


def left_open(before: dict[int, str], children: Iterable[int]) -> Leftovers:
    """What is open now and was not `before`. `children`: the live processes that this process has started."""
    new = {fd: link for fd, link in open_now().items() if before.get(fd) != link}
    tracker = _tracker()
    new.pop(tracker.fd, None)
    found = Leftovers([], [], {})
    loops = _loops(new)
    owners = _owners() if new else {}
    for fd, link in sorted(new.items()):
        with contextlib.suppress(OSError):  # a thread has closed it meanwhile
            if fd not in loops:
                _sort(fd, link, owners.get(fd, ""), found)
    loop_owners = {owners.get(fd, "") for fd in loops.values()}
    found.unsafe.extend(f"an event loop{owner}" for owner in sorted(loop_owners))
    found.unsafe.extend(f"the process {pid} ({_command(pid)})" for pid in sorted({*children} - {tracker.pid}))
    found.shared.extend(_shared_memory())
    if any(flags & os.O_ACCMODE == os.O_WRONLY for flags in found.anew.values()):
        _flush_files()
    return Leftovers(_listed(found.unsafe), _listed(found.shared), found.anew)


def open_anew(fd: int, flags: int) -> None:
    """Give this process its own open file description, at the same position."""
    with contextlib.suppress(OSError):
        new = os.open(f"/proc/self/fd/{fd}", flags)
        try:
            with contextlib.suppress(OSError):
                os.lseek(new, os.lseek(fd, 0, os.SEEK_CUR), os.SEEK_SET)
            os.dup2(new, fd, inheritable=os.get_inheritable(fd))
        finally:
            os.close(new)


def _flush_files() -> None:
    """Flush buffered files: each fork would write the content of their buffers again."""
    for one in gc.get_objects():
        if type(one) in (io.TextIOWrapper, io.BufferedWriter):
            with contextlib.suppress(Exception):
                one.flush()


def _sort(fd: int, link: str, owner: str, found: Leftovers) -> None:
    mode = os.fstat(fd).st_mode
    if stat.S_ISSOCK(mode):
        text, may_share = sockets.described(fd)
        (found.shared if may_share else found.unsafe).append(text + owner)
    elif stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        _sort_file(fd, link, owner, found)
    elif not stat.S_ISCHR(mode):
        found.unsafe.append(f"{_kind(link, mode)}{owner}")
    elif os.major(os.fstat(fd).st_rdev) not in _MEMORY_DEVICES | _TERMINALS:
        found.unsafe.append(f"the device {link}{owner}")


def _sort_file(fd: int, link: str, owner: str, found: Leftovers) -> None:
    flags, is_locked = _description(fd)
    if link.startswith(_SHARED_MEMORY):
        found.shared.append(f"the shared memory {link}{owner}")
        return
    access = flags & os.O_ACCMODE
    if access == os.O_RDWR and not is_locked:
        found.unsafe.append(f"the file {link}, open to read and write{owner}")
        return
    if is_locked:
        found.shared.append(f"the lock on {link}{owner}")
    found.anew[fd] = flags & ~_MADE_ONCE | (os.O_APPEND if access == os.O_WRONLY else 0)


def _description(fd: int) -> tuple[int, bool]:
    """The flags it was opened with, and whether it holds a flock (proc(5), fdinfo)."""
    with open(f"/proc/self/fdinfo/{fd}") as info:
        lines = info.read().splitlines()
    flags = next(int(line.split()[1], 8) for line in lines if line.startswith("flags:"))  # in octal
    # POSIX locks belong to the process, so a fork does not share them.
    return flags, any(line.startswith("lock:") and " POSIX " not in line for line in lines)


def _kind(link: str, mode: int) -> str:
    """`inotify` for `anon_inode:inotify`, `epoll` for `anon_inode:[eventpoll]`, `a pipe` for `pipe:[17]`."""
    if stat.S_ISFIFO(mode):
        return "a pipe" if link.startswith("pipe:") else f"the pipe {link}"
    name = link.partition("anon_inode:")[2].strip("[]") or link
    return _KINDS.get(name, name)


def _loops(new: "dict[int, str]") -> "dict[int, int]":
    """The new descriptors of asyncio's event loops, each with that of the loop's selector."""
    base: Any = getattr(sys.modules.get("asyncio"), "BaseEventLoop", None)
    if base is None or not new:
        return {}
    found = {}
    for one in gc.get_objects():
        if issubclass(type(one), base):
            with contextlib.suppress(Exception):
                epoll = one._selector.fileno()
                found.update(dict.fromkeys((epoll, one._ssock.fileno(), one._csock.fileno()), epoll))
    return {fd: epoll for fd, epoll in found.items() if fd in new}


def _owners() -> "dict[int, str]":
    """Descriptor → ` (module.name)` of the module-level variable that holds it, where there is one."""
    found: dict[int, str] = {}
    for module_name, module in tuple(sys.modules.items()):
        top = module_name.partition(".")[0]
        if top in sys.stdlib_module_names or top in ("_forklight", "__main__"):
            continue
        for name, value in tuple(getattr(module, "__dict__", {}).items()):
            for fd in _descriptors_of(value):
                found.setdefault(fd, f" ({module_name}.{name})")
    return found


def _descriptors_of(value: Any) -> Iterator[int]:
    """The descriptors of an object. Looks at its type first, because reading a proxy's attributes runs user code."""
    kind = type(value)
    with contextlib.suppress(Exception):
        if hasattr(kind, "run_until_complete"):
            yield value._selector.fileno()
        elif callable(getattr(kind, "fileno", None)):
            yield value.fileno()


class _Tracker(NamedTuple):
    fd: int
    pid: int


def _tracker() -> _Tracker:
    """The resource tracker of multiprocessing, if it runs, else -1 for both."""
    module: Any = sys.modules.get("multiprocessing.resource_tracker")
    tracker = getattr(module, "_resource_tracker", None)
    return _Tracker(getattr(tracker, "_fd", None) or -1, getattr(tracker, "_pid", None) or -1)


def _shared_memory() -> Iterator[str]:
    """Writable shared mappings (proc(5), maps)."""
    with open("/proc/self/maps", errors="replace") as maps:
        for line in maps:
            _, rights, *_, path = line.split(maxsplit=5)
            if rights.startswith("rw-s"):
                is_lock = path.startswith(f"{_SHARED_MEMORY}sem.")
                yield "a lock of multiprocessing" if is_lock else f"memory mapped from {path.strip()}"


def _command(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/comm", errors="replace") as comm:
            return comm.read().strip()
    except OSError:
        return "ended"


def _listed(texts: "list[str]") -> "list[str]":
    """The first ten without duplicates, each cut to its maximal length."""
    return [text[:_MAX_CHARS] for text in dict.fromkeys(texts)][:_MAX_LISTED]
