"""pidfds, which name a process without races. One that comes from a guest is used only after verification.

`pidfd_open` needs no permission, so a hostile template could send the pidfd of any process and have a root server kill
it. `verify` asks the kernel (pidfd fdinfo, proc(5)) and accepts only a live child of the right parent and user that is
not known yet. A process is dead when its pidfd is readable, and by no other sign.
"""

import contextlib
import fcntl
import os
import select
import signal
import struct
from collections.abc import Container

from sandbox.errors import SandboxError

_PIDFD_INFO = struct.Struct("=Q52si")
"""struct pidfd_info: what is asked for and known, then what we do not need, then the status as of wait(2)."""
_PIDFD_INFO_EXIT = 8
_PIDFD_GET_INFO = 3 << 30 | _PIDFD_INFO.size << 16 | 0xFF << 8 | 11


class Forged(SandboxError):
    """The pidfd names a live process that it must not name. That process is never signalled."""


def has_died(pidfd: int) -> bool:
    """Whether the process has ended; a zombie has."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


def kill(pidfd: int, number: int = signal.SIGKILL) -> None:
    """Send a signal, unless the process is gone."""
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, number)


def verify(pidfd: int, *, parent_pid: int, uid: int, known: Container[int]) -> int | None:
    """The pid of a pidfd that a guest sent, or None if the process is dead on arrival. Raises Forged."""
    pid = _pid_of(pidfd)
    if pid is None:
        return None
    facts = _facts(pid)
    if has_died(pidfd):
        return None  # it ended meanwhile, so the facts may be those of another process with its pid
    if facts is None:
        return _hidden(pid, uid, known)
    found_parent, uids, group = facts
    if group != pid:
        raise Forged(f"{pid} is a thread of process {group}")
    if found_parent != parent_pid or uids != {uid}:
        raise Forged(f"process {pid} has parent {found_parent} and users {sorted(uids)}, not {parent_pid} and {uid}")
    if pid in known:
        raise Forged(f"process {pid} is already known")
    return pid


def _hidden(pid: int, uid: int, known: Container[int]) -> int:
    """Decide on a live process that /proc hides (hidepid, proc(5)). An ordinary user can signal only its own anyway."""
    if os.geteuid() != uid or pid in known:
        raise Forged(f"process {pid} cannot be verified: /proc is mounted with hidepid")
    return pid


def _pid_of(pidfd: int) -> int | None:
    for line in read_proc(f"/proc/self/fdinfo/{pidfd}").splitlines():
        if line.startswith(b"Pid:"):
            pid = int(line[4:])
            return pid if pid > 0 else None
    raise Forged("the descriptor is not a pidfd")


def _facts(pid: int) -> tuple[int, set[int], int] | None:
    """(parent pid, all user ids, thread group), or None if it is gone. The group of a process is its own pid."""
    try:
        text = read_proc(f"/proc/{pid}/status")
    except (FileNotFoundError, ProcessLookupError):
        return None
    uids = set(map(int, _field(text, b"\nUid:").split()))
    return int(_field(text, b"\nPPid:")), uids, int(_field(text, b"\nTgid:"))


def is_first(pid: int, *, parent_pid: int) -> bool:
    """Whether a child of `parent_pid` is the first process of a pid namespace of its own. Raises OSError."""
    text = read_proc(f"/proc/{pid}/status")
    return int(_field(text, b"\nPPid:")) == parent_pid and _field(text, b"\nNSpid:").split()[-1] == b"1"


def reap_adopted(pid: int) -> None:
    """Reap a dead process, if it has become a child of the server."""
    with contextlib.suppress(ChildProcessError):
        if pid:
            os.waitpid(pid, os.WNOHANG)


def exit_code(pidfd: int) -> int | None:
    """How a dead process ended that somebody has reaped; None before Linux 6.15, which does not say (pidfd_open(2))."""
    info = bytearray(_PIDFD_INFO.pack(_PIDFD_INFO_EXIT, bytes(52), 0))
    try:
        fcntl.ioctl(pidfd, _PIDFD_GET_INFO, info)
    except OSError:
        return None
    known, _, status = _PIDFD_INFO.unpack(info)
    return os.waitstatus_to_exitcode(status) if known & _PIDFD_INFO_EXIT else None


def read_proc(path: str) -> bytes:
    """The first 8 KiB, in three system calls; a file object would make twice as many."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 8192)
    finally:
        os.close(fd)


def _field(text: bytes, name: bytes) -> bytes:
    """The rest of the line after `name`. The process's own name, in the first line, cannot contain a line break."""
    start = text.index(name) + len(name)
    return text[start : text.index(b"\n", start)]


def cpu_ns(pid: int, *, alone: bool = False) -> int:
    """CPU time of a process, and unless `alone` of all that it has waited for; 0 if it is gone. In steps of 10 ms."""
    try:
        fields = read_proc(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    except OSError:
        return 0
    return sum(map(int, fields[11 : 13 if alone else 15])) * (1_000_000_000 // os.sysconf("SC_CLK_TCK"))


def memory_kb(pid: int) -> int | None:
    """Resident memory in KiB, or None if the process is gone or no descriptor is left to read it with.

    Every user can read statm, unlike smaps.
    """
    try:
        return int(read_proc(f"/proc/{pid}/statm").split()[1]) * (os.sysconf("SC_PAGE_SIZE") // 1024)
    except OSError:
        return None


def anonymous_kb(pid: int) -> int | None:
    """The part of the resident memory that belongs to no file; None like `memory_kb`.

    A fork begins with all of its parent's, but with few of its file pages.
    """
    try:
        _, resident, shared, *_ = map(int, read_proc(f"/proc/{pid}/statm").split())
    except OSError:
        return None
    return (resident - shared) * (os.sysconf("SC_PAGE_SIZE") // 1024)
