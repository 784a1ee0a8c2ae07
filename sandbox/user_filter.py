"""The seccomp filter of a zygote that may change its user: it can become one of some users, and nobody else. Pure.

A zygote that gives each function a user of its own has CAP_SETUID and CAP_SETGID (`launch.py`). What it can do with
them is narrowed here, before it imports anything, and everything below it inherits the filter. Besides the calls that
change users and groups, it refuses new user namespaces: whoever has CAP_SETUID may map any user into one
(user_namespaces(7)). clone3 passes its flags in memory, where no filter can look, so it does not exist; the C library
then uses clone.

Sources: seccomp(2); linux/filter.h, linux/seccomp.h and linux/audit.h for the numbers.
"""

import errno
import os
import struct
import sys
from collections.abc import Iterator

from msgspec import Struct

_LOAD = 0x20
"""BPF_LD | BPF_W | BPF_ABS"""
_IS_EQUAL, _IS_GREATER, _IS_AT_LEAST, _HAS_BITS, _RETURN = 0x15, 0x25, 0x35, 0x45, 0x06
_ALLOW, _FAIL, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_NUMBER_AT, _ARCH_AT = 0, 4
_FIRST_ARGUMENT_AT = 16
_X32 = 0x40000000
"""The bit of the calls of a second ABI that an x86-64 process can make."""
_CLONE_NEWUSER = 0x10000000
_UNCHANGED = 0xFFFFFFFF
"""-1: leave this id as it is."""

_GENERIC = {
    "setregid": 143,
    "setgid": 144,
    "setreuid": 145,
    "setuid": 146,
    "setresuid": 147,
    "setresgid": 149,
    "setfsuid": 151,
    "setfsgid": 152,
    "setgroups": 159,
    "unshare": 97,
    "clone": 220,
    "clone3": 435,
}
_X86_64 = {
    "setuid": 105,
    "setgid": 106,
    "setreuid": 113,
    "setregid": 114,
    "setresuid": 117,
    "setresgid": 119,
    "setfsuid": 122,
    "setfsgid": 123,
    "setgroups": 116,
    "unshare": 272,
    "clone": 56,
    "clone3": 435,
}
_MACHINES = {
    "x86_64": (0xC000003E, _X86_64),
    "aarch64": (0xC00000B7, _GENERIC),
    "riscv64": (0xC00000F3, _GENERIC),
}
"""The audit architecture and the numbers of the system calls, by the name that uname(2) gives the machine."""
_USERS_IN = {"setuid": 1, "setreuid": 2, "setresuid": 3}
_GROUPS_IN = {"setgid": 1, "setregid": 2, "setresgid": 3}
"""How many ids each takes, the first arguments."""

_Code = tuple[int, int, int, int]
"""(code, how many to skip if true, how many if false, operand)"""


class Ids(Struct, frozen=True):
    """The ids that a process may take: a range with both ends, and one beside it."""

    first: int
    last: int
    also: int


def machines() -> tuple[str, ...]:
    """The machines that there is a filter for, as uname(2) names them."""
    return tuple(_MACHINES)


def user_filter(users: Ids, groups: Ids, machine: str | None = None) -> bytes:
    """The program for seccomp(2). Raises KeyError for a machine whose system calls are unknown."""
    arch, calls = _MACHINES[machine or os.uname().machine]
    code: list[_Code] = [
        (_LOAD, 0, 0, _ARCH_AT),
        (_IS_EQUAL, 1, 0, arch),
        (_RETURN, 0, 0, _KILL),  # the system calls of another architecture have other numbers
        (_LOAD, 0, 0, _NUMBER_AT),
    ]
    if machine_has_x32(arch):
        code += [(_IS_AT_LEAST, 0, 1, _X32), _fail(errno.EPERM)]
    for name in ("setfsuid", "setfsgid", "setgroups"):
        code += _on(calls[name], [_fail(errno.EPERM)])
    code += _on(calls["clone3"], [_fail(errno.ENOSYS)])
    for name in ("unshare", "clone"):
        flagged = [(_HAS_BITS, 0, 1, _CLONE_NEWUSER), _fail(errno.EPERM)]
        code += _on(calls[name], [(_LOAD, 0, 0, _low(0)), *flagged, (_RETURN, 0, 0, _ALLOW)])
    for counts, ids in ((_USERS_IN, users), (_GROUPS_IN, groups)):
        for name, count in counts.items():
            code += _on(calls[name], list(_only(ids, count)))
    code.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("=HBBI", *one) for one in code)


def machine_has_x32(arch: int) -> bool:
    """Whether its processes can make the calls of the x32 ABI, which have other numbers."""
    return arch == _MACHINES["x86_64"][0]


def _on(number: int, block: list[_Code]) -> list[_Code]:
    """Run the block, which ends with a return, if this is the system call."""
    return [(_IS_EQUAL, 0, len(block), number), *block]


def _only(ids: Ids, count: int) -> Iterator[_Code]:
    """Allow the call if each of its first arguments is one of `ids` or -1."""
    for at in range(count):
        rest = 5 * (count - at - 1)  # the instructions of later arguments; behind them the two returns
        yield (_LOAD, 0, 0, _low(at))
        yield (_IS_EQUAL, 3, 0, _UNCHANGED)
        yield (_IS_EQUAL, 2, 0, ids.also)
        yield (_IS_AT_LEAST, 0, rest + 2, ids.first)
        yield (_IS_GREATER, rest + 1, 0, ids.last)
    yield (_RETURN, 0, 0, _ALLOW)
    yield _fail(errno.EPERM)


def _low(argument: int) -> int:
    """Where the low half of an argument is. An id or a set of flags has 32 bits, and the kernel ignores the others."""
    return _FIRST_ARGUMENT_AT + 8 * argument + (0 if sys.byteorder == "little" else 4)


def _fail(error: int) -> _Code:
    return (_RETURN, 0, 0, _FAIL | error)
