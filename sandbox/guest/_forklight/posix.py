"""System calls of the process tree, including those that Python does not offer.

Sources: prctl(2), seccomp(2), capset(2), fcntl(2) on F_SETSIG and O_ASYNC, proc(5) on `task/TID/children`.
"""

import ctypes
import fcntl
import os
import select
import signal
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAPBSET_READ, _PR_CAPBSET_DROP = 23, 24
CLONE_NEWPID = 0x20000000
_SECCOMP = 317 if os.uname().machine == "x86_64" else 277
"""The number of seccomp(2); most machines have the same one."""
_SECCOMP_SET_MODE_FILTER = 1
_SECCOMP_FILTER_FLAG_SPEC_ALLOW = 1 << 2
"""Before Linux 5.16 a filter also kept the processor from speculating, which makes everything slower."""
_CAPABILITY_HEADER = (ctypes.c_uint32 * 2)(0x20080522, 0)
"""_LINUX_CAPABILITY_VERSION_3, this process"""
_NO_CAPABILITIES = (ctypes.c_uint32 * 6)()
_F_SETOWN, _F_SETSIG = 8, 10
_SIGKILL = int(signal.SIGKILL)

_libc = ctypes.CDLL(None, use_errno=True)
_libc.prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
_malloc_trim = getattr(_libc, "malloc_trim", None)
"""glibc's, which musl does not have"""
if _malloc_trim is not None:
    _malloc_trim.argtypes = [ctypes.c_size_t]


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl({option}): {os.strerror(code)}")


def drop_capabilities(keep: int = 0) -> None:
    """Give up every capability but these for good: effective, permitted, inheritable, and with them the ambient ones.

    `keep` is a set of bits of the first 32; they are not inheritable.
    """
    kept = (ctypes.c_uint32 * 6)(keep, keep) if keep else _NO_CAPABILITIES  # an instance has to copy the pages of both
    if _libc.capset(_CAPABILITY_HEADER, kept) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"capset: {os.strerror(code)}")


def enter_namespaces(fd: int, namespaces: int) -> None:
    """setns(2): `fd` is that of a namespace, or the pidfd of a process that is in all of these namespaces."""
    if _libc.setns(fd, namespaces) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def unshare(namespaces: int) -> None:
    """unshare(2). Of CLONE_NEWPID, it is the next child that is the first process of the new namespace."""
    if _libc.unshare(namespaces) != 0:
        raise OSError(ctypes.get_errno(), "unshare")


def become_subreaper() -> None:
    """Have orphans below this process become its children, so that a sweep finds them all."""
    if _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:  # `_prctl` itself is another two pages to copy
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def forbid_new_privileges() -> None:
    """Prevent setuid programs started from here from gaining privileges. Every descendant inherits it."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


class _Program(ctypes.Structure):
    """struct sock_fprog"""

    _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_char_p))


def set_filter(program: bytes) -> None:
    """Put a seccomp filter on this process; every descendant inherits it. Requires `forbid_new_privileges`."""
    given = _Program(len(program) // 8, program)  # an instruction has 8 bytes
    system_call(_SECCOMP, _SECCOMP_SET_MODE_FILTER, _SECCOMP_FILTER_FLAG_SPEC_ALLOW, ctypes.addressof(given))


def system_call(number: int, *arguments: int) -> int:
    """Its result. Raises OSError."""
    result: int = _libc.syscall(ctypes.c_long(number), *map(ctypes.c_long, arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"system call {number}: {os.strerror(code)}")
    return result


def limit_capabilities() -> None:
    """Leave no capability that a program may gain when it is executed.

    Only who has CAP_SETPCAP can do so. For all others `forbid_new_privileges` does the same.
    """
    capability = 0
    while (is_left := _libc.prctl(_PR_CAPBSET_READ, capability, 0, 0, 0)) >= 0:  # until there is no such number
        if is_left and _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
            return
        capability += 1


def forbid_inspection() -> None:
    """Prevent processes of the same user from tracing this one or reading its memory; inherited by fork."""
    _prctl(_PR_SET_DUMPABLE, 0)


def wake_without_preempting() -> None:
    """Do not preempt the process that wakes this one (sched(7), SCHED_BATCH); inherited by fork.

    A server preempted by each instance that it writes to loses its caches between events: at 16 connections that cost
    a sixth of a request. The share of the processor stays the same.
    """
    try:
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    except OSError:  # some containers forbid it; everything works without it
        return


def arm_lifeline(pipe: int) -> None:
    """Have the kernel SIGKILL this process group when the only writer of `pipe` (the server) is gone.

    It works however busy or blocked the process is. Requires a process group of its own (setsid).
    """
    fcntl.fcntl(pipe, _F_SETOWN, -os.getpid())
    fcntl.fcntl(pipe, _F_SETSIG, _SIGKILL)
    fcntl.fcntl(pipe, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
    if _has_hung_up(pipe):  # the server died before this was armed, so no signal will come
        os.killpg(0, signal.SIGKILL)


def tie_to_lifeline(pid: int, pipe: int) -> None:
    """Have the kernel SIGKILL the group of a newborn child when the only writer of `pipe` is gone.

    The server has armed the rest of it. It works before the child has run its first line, which makes its group: the
    kernel looks for the group only when it sends the signal.
    """
    fcntl.fcntl(pipe, _F_SETOWN, -pid)


def soften_lifeline(pipe: int) -> None:
    """Have the kernel send SIGCONT to this process instead of killing it when the server is gone.

    The process then ends at the end of file on its control socket, even if it was stopped.
    """
    fcntl.fcntl(pipe, _F_SETOWN, os.getpid())
    fcntl.fcntl(pipe, _F_SETSIG, int(signal.SIGCONT))


def _has_hung_up(pipe: int) -> bool:
    poll = select.poll()
    poll.register(pipe, 0)
    return bool(poll.poll(0))


def is_readable(fd: int, limit_s: float) -> bool:
    """Wait until there is data or end of file; False after `limit_s`."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(limit_s * 1000))


def thread_count() -> int:
    """The number of threads of this process, including those of C code."""
    # One stat, because this may run for each of hundreds of imports: a link per thread, plus `.` and `..`.
    return os.stat("/proc/self/task").st_nlink - 2


def is_terminal(fd: int) -> bool:
    """Whether the descriptor is a terminal, open for reading and writing."""
    return os.isatty(fd) and fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDWR


def close_all_but(keep: Iterable[int]) -> None:
    """Close every descriptor from 3 up that is not in `keep`."""
    low = 3
    for kept in sorted(fd for fd in keep if fd >= 3):
        os.closerange(low, kept)
        low = kept + 1
    os.closerange(low, os.sysconf("SC_OPEN_MAX"))


def children() -> set[int]:
    """The pids of the children of this thread, zombies included.

    /proc may be that of an outer pid namespace, as in an instance in a box: the pids in it are others than ours.
    """
    with open("/proc/thread-self/children", "rb") as listing:
        found = set(map(int, listing.read().split()))
    if found and os.readlink("/proc/self") != str(os.getpid()):
        return {own for pid in found if (own := _own_pid(pid))}
    return found


def _own_pid(pid: int) -> int:
    """The pid in our own pid namespace of a child that /proc shows as `pid`; 0 if it is gone."""
    try:
        with open(f"/proc/{pid}/status", "rb") as status:
            return next(int(line.split()[-1]) for line in status if line.startswith(b"NSpid:"))
    except (OSError, StopIteration):
        return 0


def pid_of(pidfd: int) -> int:
    """The pid of the process that a pidfd names, in the namespace of /proc; -1 if it was reaped."""
    with open(f"/proc/self/fdinfo/{pidfd}", "rb") as info:
        return next(int(line.split()[1]) for line in info if line.startswith(b"Pid:"))


class End(NamedTuple):
    """How a child ended that was reaped. `cpu_ms` includes the processes below it that were waited for."""

    pid: int
    code: int
    """its exit code, or minus the signal"""
    cpu_ms: float


def reap(pid: int = -1) -> End | None:
    """Reap this child, or any, if it has ended; None if not. Raises ChildProcessError if there is no child."""
    found, status, used = os.wait4(pid, os.WNOHANG)
    if not found:
        return None
    return End(found, os.waitstatus_to_exitcode(status), (used.ru_utime + used.ru_stime) * 1000)


def _kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


Kill = Callable[[int], None]
"""Sends SIGKILL to a child."""


def kill_children(keep: Iterable[int] = (), limit_s: float = 3.0, kill: Kill = _kill) -> list[End]:
    """SIGKILL and reap every child not in `keep`, including orphans that become children meanwhile.

    Returns those reaped; gives up after `limit_s` on processes that the kernel cannot end.
    """
    kept = set(keep)
    reaped: list[End] = []
    end = time.monotonic() + limit_s
    while (strangers := children() - kept) and time.monotonic() < end:
        reaped += kill_and_reap(strangers, end - time.monotonic(), kill)
    return reaped


def kill_and_reap(pids: "set[int]", limit_s: float = 3.0, kill: Kill = _kill) -> list[End]:
    """SIGKILL these children; returns those that were reaped within `limit_s`."""
    end = time.monotonic() + limit_s
    for pid in pids:
        kill(pid)
    found = [_reap_before(pid, end) for pid in pids]
    return [one for one in found if one is not None]


def _reap_before(pid: int, end: float) -> End | None:
    """The end of a child that was just killed, or None if it does not die in time."""
    pidfd = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        poll.poll(max(0.0, end - time.monotonic()) * 1000)
        return reap(pid)
    finally:
        os.close(pidfd)


def memory_kb() -> int:
    """This process's resident memory in KiB."""
    with open("/proc/self/statm", "rb") as statm:
        return int(statm.read().split()[1]) * (os.sysconf("SC_PAGE_SIZE") // 1024)


def trim_heap() -> None:
    """Give the free pages of the C library's heap back to the kernel, where it can (malloc_trim(3))."""
    if _malloc_trim is not None:
        _malloc_trim(0)


def data_bytes() -> int:
    """How much this process uses of RLIMIT_DATA (VmData)."""
    with open("/proc/self/statm", "rb") as statm:
        return int(statm.read().split()[5]) * os.sysconf("SC_PAGE_SIZE")
