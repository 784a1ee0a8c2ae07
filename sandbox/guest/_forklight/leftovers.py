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
| a lock that is held | reported: nobody can release it, whether instances are forked or loaded |

If anything is unsafe, each instance loads the function itself, as it does if there are threads. The resource tracker of
multiprocessing is designed to be inherited, and does not count. A held lock counts if a variable leads to it: Python
holds some of its own.
"""

import contextlib
import os
import stat
import sys
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from . import sockets
from .survey import Survey

_MAX_LISTED = 10
_MAX_CHARS = 200
_MADE_ONCE = os.O_CREAT | os.O_EXCL | os.O_TRUNC
_SHARED_MEMORY = "/dev/shm/"  # noqa: S108  a place to recognise, not to write to
_MEMORY_DEVICES, _TERMINALS = {1}, {4, 5, *range(136, 144)}  # major numbers, Documentation/admin-guide/devices.txt
_KINDS = {"eventpoll": "epoll (a selector or an event loop)"}


class Leftovers(NamedTuple):
    """What an import left open. `unsafe`, `shared` and `held` are descriptions, at most ten each."""

    unsafe: list[str]
    """What forbids forking."""
    shared: list[str]
    """What forks can share."""
    held: list[str]
    """Locks that were not released."""
    anew: dict[int, int]
    """Descriptor → the flags with which each fork opens it anew."""


def open_now() -> dict[int, str]:
    """Every descriptor of this process, and the kernel's name for it (proc(5))."""
    found = {}
    for fd in map(int, os.listdir("/proc/self/fd")):
        with contextlib.suppress(OSError):  # the descriptor of the listing itself
            found[fd] = os.readlink(f"/proc/self/fd/{fd}")
    return found


def left_open(before: dict[int, str], children: Iterable[int], survey: Survey) -> Leftovers:
    """What is open now and was not `before`. `children`: the live processes that this process has started."""
    new = {fd: link for fd, link in open_now().items() if before.get(fd) != link}
    tracker = _tracker()
    new.pop(tracker.fd, None)
    found = Leftovers([], [], _held_locks(survey), {})
    loops = _loops(new, survey)
    for fd in loops:
        del new[fd]
    _take_databases(new, survey, found)
    for fd, link in sorted(new.items()):
        with contextlib.suppress(OSError):  # a thread has closed it meanwhile
            _sort(fd, link, survey, found)
    found.unsafe.extend(sorted(f"an event loop{survey.owner_of_descriptor(fd)}" for fd in {*loops.values()}))
    found.unsafe.extend(f"the process {pid} ({_command(pid)})" for pid in sorted({*children} - {tracker.pid}))
    found.shared.extend(_shared_memory())
    if any(flags & os.O_ACCMODE == os.O_WRONLY for flags in found.anew.values()):
        _flush_files(survey)
    return Leftovers(_listed(found.unsafe), _listed(found.shared), _listed(found.held), found.anew)


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


def _flush_files(survey: Survey) -> None:
    """Flush buffered files: each fork would write the content of their buffers again."""
    for one in (*survey.of("text_file"), *survey.of("binary_file")):
        with contextlib.suppress(Exception):
            one.flush()


def _sort(fd: int, link: str, survey: Survey, found: Leftovers) -> None:
    mode = os.fstat(fd).st_mode
    if stat.S_ISSOCK(mode):
        text, may_share = sockets.described(fd)
        (found.shared if may_share else found.unsafe).append(text + survey.owner_of_descriptor(fd))
    elif stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        _sort_file(fd, link, survey, found)
    elif not stat.S_ISCHR(mode):
        found.unsafe.append(f"{_kind(link, mode)}{survey.owner_of_descriptor(fd)}")
    elif os.major(os.fstat(fd).st_rdev) not in _MEMORY_DEVICES | _TERMINALS:
        found.unsafe.append(f"the device {link}{survey.owner_of_descriptor(fd)}")


def _sort_file(fd: int, link: str, survey: Survey, found: Leftovers) -> None:
    flags, is_locked = _description(fd)
    if link.startswith(_SHARED_MEMORY):
        found.shared.append(f"the shared memory {link}{survey.owner_of_descriptor(fd)}")
        return
    access = flags & os.O_ACCMODE
    if access == os.O_RDWR and not is_locked:
        found.unsafe.append(f"the file {link}, open to read and write{survey.owner_of_descriptor(fd)}")
        return
    if is_locked:
        found.shared.append(f"the lock on {link}{survey.owner_of_descriptor(fd)}")
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


def _loops(new: "dict[int, str]", survey: Survey) -> "dict[int, int]":
    """The new descriptors of asyncio's event loops, each with that of the loop's selector."""
    found = {}
    for one in survey.of("loop"):
        with contextlib.suppress(Exception):
            epoll = one._selector.fileno()
            found.update(dict.fromkeys((epoll, one._ssock.fileno(), one._csock.fileno()), epoll))
    return {fd: epoll for fd, epoll in found.items() if fd in new}


def _take_databases(new: "dict[int, str]", survey: Survey, found: Leftovers) -> None:
    """Take the files of SQLite's connections out of `new`: one text for each connection. Read-only ones stay files."""
    for one in survey.of("sqlite"):
        with contextlib.suppress(Exception):  # it is closed, or belongs to another thread
            paths = _database_files(one)
            fds = [fd for fd, link in new.items() if link.removesuffix("-wal").removesuffix("-shm") in paths]
            if any(_description(fd)[0] & os.O_ACCMODE == os.O_RDWR for fd in fds):
                found.unsafe.append(f"an SQLite connection to {', '.join(paths)}{survey.owner(one)}")
                for fd in fds:
                    del new[fd]


def _database_files(connection: Any) -> list[str]:
    """The files of a connection, without those in memory."""
    kind: Any = sys.modules["sqlite3"].Connection
    cursor = kind.cursor(connection)
    cursor.row_factory = None
    return [path for _, _, path in cursor.execute("PRAGMA database_list") if path]


def _held_locks(survey: Survey) -> list[str]:
    """Those that a variable leads to, since Python holds some of its own."""
    found = []
    for kind, described in (("lock", "threading.Lock"), ("rlock", "threading.RLock"), ("shared_lock", "")):
        for one in survey.of(kind):
            with contextlib.suppress(Exception):  # of a subclass
                if _is_held(one, kind) and (owner := survey.owner(one)):
                    found.append(f"a held {described or f'multiprocessing.{type(one).__name__}'}{owner}")
    return found


def _is_held(one: Any, kind: str) -> bool:
    if kind == "lock":
        return bool(one.locked())
    if kind == "rlock":  # which has `locked` since Python 3.14
        return repr(one).startswith("<locked ")
    return type(one).__name__ in ("Lock", "RLock") and bool(one._semlock._is_zero())


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
