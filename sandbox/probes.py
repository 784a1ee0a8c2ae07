"""Asks the kernel which filters it has. Neither question changes anything, so they need no process of their own."""

import ctypes
import errno
import os

from sandbox.bpf import MACHINES

_LANDLOCK_CREATE_RULESET = 444  # on every architecture
_LANDLOCK_CREATE_RULESET_VERSION = 1
_SECCOMP_GET_ACTION_AVAIL = 2
_SECCOMP_RET_ERRNO = 0x00050000

_libc = ctypes.CDLL(None, use_errno=True)


def landlock_abi() -> int | str:
    """The version of Landlock's interface (landlock(7)), from 1; or why there is none."""
    abi = _syscall(_LANDLOCK_CREATE_RULESET, None, 0, _LANDLOCK_CREATE_RULESET_VERSION)
    if abi > 0:
        return abi
    return {
        errno.ENOSYS: "the kernel is older than Linux 5.13 or was built without Landlock",
        errno.EOPNOTSUPP: "Landlock is switched off: add it to the kernel's parameter lsm=",
        errno.EPERM: "the container that the server runs in forbids Landlock",
    }.get(-abi, f"Landlock fails: {os.strerror(-abi)}")


def seccomp_problem() -> str:
    """Why no filter of system calls can be set; empty if it can."""
    machine = MACHINES.get(os.uname().machine)
    if machine is None:
        return f"there is no filter for {os.uname().machine} processors, only for {' and '.join(MACHINES)}"
    result = _syscall(machine.seccomp, _SECCOMP_GET_ACTION_AVAIL, 0, ctypes.byref(ctypes.c_uint32(_SECCOMP_RET_ERRNO)))
    if result == 0:
        return ""
    return {
        errno.ENOSYS: "the kernel was built without seccomp filters",
        errno.EPERM: "the container that the server runs in forbids seccomp filters",
    }.get(-result, f"seccomp fails: {os.strerror(-result)}")


def _syscall(number: int, *arguments: object) -> int:
    """Its result, or minus the errno."""
    result: int = _libc.syscall(number, *arguments)
    return -ctypes.get_errno() if result < 0 else result
