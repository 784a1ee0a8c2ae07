"""pidfds: what names a process without races. One that comes from a guest is believed only after a check.

`pidfd_open` needs no permission, so a hostile template could hand over anybody's pidfd and have a root dispatcher kill
it: `verify` reads what the kernel says (pidfd fdinfo, proc(5)) and refuses all but a live child of the right parent and
user that is not known already. Readable means dead; nothing else does.
"""

import contextlib
import os
import select
import signal
from collections.abc import Container

from sandbox.errors import SandboxError


class Forged(SandboxError):
    """A live process, but not the one it should be. It is never signalled."""


def has_died(pidfd: int) -> bool:
    """Whether the process behind the pidfd has ended (a zombie has)."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


def kill(pidfd: int, number: int = signal.SIGKILL) -> None:
    """Send a signal; a process that is gone already needs none."""
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, number)


def verify(pidfd: int, *, parent_pid: int, uid: int, known: Container[int]) -> int | None:
    """The pid behind a pidfd that a guest sent, or None if that process is dead on arrival. Raises Forged."""
    pid = _pid_of(pidfd)
    if pid is None:
        return None
    facts = _facts(pid)
    if has_died(pidfd):
        return None  # it ended while we looked, so the facts may be another's; while it lives, its pid is its own
    if facts is None:
        return _hidden(pid, uid, known)
    found_parent, uids, group = facts
    if group != pid:
        raise Forged(f"{pid} is a thread of process {group}")
    if found_parent != parent_pid or uids != {uid}:
        raise Forged(f"process {pid} has parent {found_parent} and users {sorted(uids)}, not {parent_pid} and {uid}")
    if pid in known:
        raise Forged(f"process {pid} is known already")
    return pid


def _hidden(pid: int, uid: int, known: Container[int]) -> int:
    """A live process that /proc does not show (hidepid, proc(5)). An ordinary user could signal only its own anyway."""
    if os.geteuid() != uid or pid in known:
        raise Forged(f"process {pid} cannot be looked at: /proc is mounted with hidepid")
    return pid


def _pid_of(pidfd: int) -> int | None:
    for line in read_proc(f"/proc/self/fdinfo/{pidfd}").splitlines():
        if line.startswith(b"Pid:"):
            pid = int(line[4:])
            return pid if pid > 0 else None
    raise Forged("the descriptor is no pidfd")


def _facts(pid: int) -> tuple[int, set[int], int] | None:
    """(parent pid, all user ids, thread group: its own pid unless it is a thread), or None if it is gone."""
    try:
        text = read_proc(f"/proc/{pid}/status")
    except (FileNotFoundError, ProcessLookupError):
        return None
    uids = set(map(int, _field(text, b"\nUid:").split()))
    return int(_field(text, b"\nPPid:")), uids, int(_field(text, b"\nTgid:"))


def read_proc(path: str) -> bytes:
    """What fits into one read, by three system calls; a file object would make twice as many."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 8192)
    finally:
        os.close(fd)


def _field(text: bytes, name: bytes) -> bytes:
    """The rest of the line after `name`. The process's own name, in the first line, cannot hold a line break."""
    start = text.index(name) + len(name)
    return text[start : text.index(b"\n", start)]


def memory_kb(pid: int) -> int | None:
    """Resident memory in KiB, or None if the process is gone or we have no descriptor left to look with.

    Readable for every user, unlike smaps.
    """
    try:
        return int(read_proc(f"/proc/{pid}/statm").split()[1]) * (os.sysconf("SC_PAGE_SIZE") // 1024)
    except OSError:
        return None
