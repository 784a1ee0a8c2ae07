"""The system calls of the process tree that Python has no names for, and the care they need.

Sources: prctl(2), fcntl(2) on F_SETSIG and O_ASYNC, proc(5) on `task/TID/children`.
"""

import ctypes
import fcntl
import os
import select
import signal
import time
from collections.abc import Iterable

_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_F_SETOWN, _F_SETSIG = 8, 10
_SIGKILL = int(signal.SIGKILL)

_libc = ctypes.CDLL(None, use_errno=True)
_libc.prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl({option}): {os.strerror(code)}")


def become_subreaper() -> None:
    """Orphans below this process become its children, so that none can hide from its sweep."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def forbid_new_privileges() -> None:
    """No setuid program run from here gains anything; inherited for ever."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def forbid_inspection() -> None:
    """Processes of the same user can neither ptrace this one nor read its memory and environment; inherited by fork."""
    _prctl(_PR_SET_DUMPABLE, 0)


def wake_without_preempting() -> None:
    """Let who wakes this process run on until it sleeps (sched(7), SCHED_BATCH); inherited by fork.

    A dispatcher that is preempted by each instance it writes to loses its caches between every two events: at 16
    connections that cost a sixth of a request. The share of the processor is the same as before.
    """
    try:
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    except OSError:  # some containers forbid it, and everything works without
        return


def arm_lifeline(pipe: int) -> None:
    """Have the kernel SIGKILL this whole process group once the only writer of `pipe` (the dispatcher) is gone.

    It works however busy or blocked the process is. Needs setsid (or a process group of one's own) before.
    """
    fcntl.fcntl(pipe, _F_SETOWN, -os.getpid())
    fcntl.fcntl(pipe, _F_SETSIG, _SIGKILL)
    fcntl.fcntl(pipe, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
    if _has_hung_up(pipe):  # it died before we armed: no signal will come for that
        os.killpg(0, signal.SIGKILL)


def soften_lifeline(pipe: int) -> None:
    """Have the kernel no longer kill but continue this process when the dispatcher is gone, in case it is stopped.

    It then lives by the end of file on its control socket.
    """
    fcntl.fcntl(pipe, _F_SETOWN, os.getpid())
    fcntl.fcntl(pipe, _F_SETSIG, int(signal.SIGCONT))


def _has_hung_up(pipe: int) -> bool:
    poll = select.poll()
    poll.register(pipe, 0)
    return bool(poll.poll(0))


def is_readable(fd: int, limit_s: float) -> bool:
    """Wait until there is something to read, or the end of file; False after `limit_s`."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(limit_s * 1000))


def thread_count() -> int:
    """The threads of this process, C's included."""
    # One stat instead of a listing, as this may run for each of hundreds of imports: a link for each, `.` and `..`.
    return os.stat("/proc/self/task").st_nlink - 2


def is_terminal(fd: int) -> bool:
    """Whether a person can be talked with through this descriptor, both ways."""
    return os.isatty(fd) and fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDWR


def close_all_but(keep: Iterable[int]) -> None:
    """Close every descriptor from 3 up that is not in `keep`."""
    low = 3
    for kept in sorted(fd for fd in keep if fd >= 3):
        os.closerange(low, kept)
        low = kept + 1
    os.closerange(low, os.sysconf("SC_OPEN_MAX"))


def children() -> set[int]:
    """The pids of this single-threaded process's children, zombies included."""
    with open(f"/proc/self/task/{os.getpid()}/children", "rb") as listing:
        return set(map(int, listing.read().split()))


def kill_children(keep: Iterable[int] = (), limit_s: float = 3.0) -> list[tuple[int, int]]:
    """SIGKILL and reap every child not in `keep`, and the orphans that become children meanwhile, until none is left.

    Returns (pid, wait status) of what was reaped; gives up after `limit_s` on processes the kernel cannot end.
    """
    kept = set(keep)
    reaped: list[tuple[int, int]] = []
    end = time.monotonic() + limit_s
    while (strangers := children() - kept) and time.monotonic() < end:
        reaped += kill_and_reap(strangers, end - time.monotonic())
    return reaped


def kill_and_reap(pids: "set[int]", limit_s: float = 3.0) -> list[tuple[int, int]]:
    """SIGKILL these children; returns (pid, wait status) of those that were dead and reaped within `limit_s`."""
    end = time.monotonic() + limit_s
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    found = [(pid, _reap_before(pid, end)) for pid in pids]
    return [(pid, status) for pid, status in found if status is not None]


def _reap_before(pid: int, end: float) -> int | None:
    """The wait status of a child that was just killed, or None if it does not die in time."""
    pidfd = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        poll.poll(max(0.0, end - time.monotonic()) * 1000)
        done, status = os.waitpid(pid, os.WNOHANG)
    finally:
        os.close(pidfd)
    return status if done else None


def memory_kb() -> int:
    """This process's resident memory in KiB."""
    with open("/proc/self/statm", "rb") as statm:
        return int(statm.read().split()[1]) * (os.sysconf("SC_PAGE_SIZE") // 1024)


def data_bytes() -> int:
    """What RLIMIT_DATA counts of this process so far (VmData)."""
    with open("/proc/self/statm", "rb") as statm:
        return int(statm.read().split()[5]) * os.sysconf("SC_PAGE_SIZE")
