"""The seccomp filter of a zygote that may change its user: it can become one of some users, and nobody else. Pure.

A zygote that gives each function a user of its own has CAP_SETUID and CAP_SETGID (`launch.py`). What it can do with
them is narrowed here, before it imports anything, and everything below it inherits the filter. Besides the calls that
change users and groups, it refuses new user namespaces: whoever has CAP_SETUID may map any user into one
(user_namespaces(7)). clone3 passes its flags in memory, where no filter can look, so it does not exist; the C library
then uses clone.

Sources: seccomp(2); linux/filter.h, linux/seccomp.h and linux/audit.h for the numbers.
"""

import errno
import struct
from collections.abc import Iterator

from msgspec import Struct

from sandbox.seccomp import MACHINES, Machine, number

_LOAD, _RETURN = 0x20, 0x06
_IS_EQUAL, _IS_GREATER, _IS_AT_LEAST, _HAS_BITS = 0x15, 0x25, 0x35, 0x45
_ALLOW, _FAIL, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_NUMBER_AT, _ARCH_AT, _ARGUMENTS_AT = 0, 4, 16
_CLONE_NEWUSER = 0x10000000
_UNCHANGED = 0xFFFFFFFF
"""-1: leave this id as it is."""

_NUMBERS = {
    "setuid": (105, 146),
    "setgid": (106, 144),
    "setreuid": (113, 145),
    "setregid": (114, 143),
    "setresuid": (117, 147),
    "setresgid": (119, 149),
    "setfsuid": (122, 151),
    "setfsgid": (123, 152),
    "setgroups": (116, 159),
}
"""On x86_64 and on aarch64, as in `seccomp.py`, which has the others."""
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


def user_filter(users: Ids, groups: Ids, machine_name: str) -> bytes:
    """The program for seccomp(2). Raises KeyError for a machine that is not in `seccomp.MACHINES`."""
    machine = MACHINES[machine_name]
    code: list[_Code] = [
        (_LOAD, 0, 0, _ARCH_AT),
        (_IS_EQUAL, 1, 0, machine.audit_arch),
        (_RETURN, 0, 0, _KILL),  # the system calls of another architecture have other numbers
        (_LOAD, 0, 0, _NUMBER_AT),
    ]
    if machine.least_foreign is not None:
        code += [(_IS_AT_LEAST, 0, 1, machine.least_foreign), _fail(errno.ENOSYS)]
    for name in ("setfsuid", "setfsgid", "setgroups"):
        code += _on(_number(name, machine), [_fail(errno.EPERM)])
    code += _on(_number("clone3", machine), [_fail(errno.ENOSYS)])
    for name in ("unshare", "clone"):
        flagged = [(_HAS_BITS, 0, 1, _CLONE_NEWUSER), _fail(errno.EPERM)]
        code += _on(_number(name, machine), [_load(0), *flagged, (_RETURN, 0, 0, _ALLOW)])
    for counts, ids in ((_USERS_IN, users), (_GROUPS_IN, groups)):
        for name, count in counts.items():
            code += _on(_number(name, machine), list(_only(ids, count)))
    code.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("<HBBI", *one) for one in code)


def _number(name: str, machine: Machine) -> int:
    found = _NUMBERS[name][machine.column] if name in _NUMBERS else number(name, machine)
    assert found is not None
    return found


def _on(call: int, block: list[_Code]) -> list[_Code]:
    """Run the block, which ends with a return, if this is the system call."""
    return [(_IS_EQUAL, 0, len(block), call), *block]


def _only(ids: Ids, count: int) -> Iterator[_Code]:
    """Allow the call if each of its first arguments is one of `ids` or -1."""
    for at in range(count):
        rest = 5 * (count - at - 1)  # the instructions of later arguments; behind them the two returns
        yield _load(at)
        yield (_IS_EQUAL, 3, 0, _UNCHANGED)
        yield (_IS_EQUAL, 2, 0, ids.also)
        yield (_IS_AT_LEAST, 0, rest + 2, ids.first)
        yield (_IS_GREATER, rest + 1, 0, ids.last)
    yield (_RETURN, 0, 0, _ALLOW)
    yield _fail(errno.EPERM)


def _load(argument: int) -> _Code:
    """Its low half, which comes first: an id or a set of flags has 32 bits, and the kernel ignores the others."""
    return (_LOAD, 0, 0, _ARGUMENTS_AT + 8 * argument)


def _fail(error: int) -> _Code:
    return (_RETURN, 0, 0, _FAIL | error)
