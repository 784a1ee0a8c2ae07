"""Programs that filter system calls: rules in the words of seccomp(2), and what the kernel runs for them. Pure.

Theory of operation. The kernel runs a small program (classic BPF) before every system call of a process and of all its
descendants. It sees the number of the call and its arguments, but no memory, and returns whether the call may run. For
a call that always runs, the kernel remembers the verdict and does not run the program again (since Linux 5.11), so only
the calls that a rule names cost anything.

Of an argument only the low 32 bits are looked at: the kernel reads no more of those that are judged here.

Sources: seccomp(2); linux/filter.h, linux/seccomp.h and linux/audit.h for the numbers.
"""

import struct
from collections.abc import Mapping
from enum import Enum
from errno import ENOSYS

from msgspec import Struct

ALLOW = 0
"""The verdict that lets a call run. Any other verdict is the errno with which it fails."""
_ALL_BITS = 0xFFFFFFFF


class Is(Enum):
    """How an argument compares with a value, both without a sign."""

    EQUAL = (0x15, True)
    NOT_EQUAL = (0x15, False)
    BELOW = (0x35, False)
    ABOVE = (0x25, True)

    @property
    def instruction(self) -> int:
        """Of the comparison with `==`, `>=` or `>` that tells."""
        return self.value[0]

    @property
    def wants(self) -> bool:
        """The result of that comparison for which the condition holds."""
        return self.value[1]


class Condition(Struct, frozen=True):
    """Whether `argument & mask` compares like this with `value`, for one of the arguments 0 to 5."""

    argument: int
    value: int
    mask: int = _ALL_BITS
    is_: Is = Is.EQUAL


class Case(Struct, frozen=True):
    """The verdict on a call whose arguments meet all conditions."""

    verdict: int
    conditions: tuple[Condition, ...] = ()


Rules = Mapping[str, tuple[Case, ...]]
"""By the name of a system call; the first case that fits decides. A call that fits no case runs."""


class Machine(Struct, frozen=True):
    """A processor architecture, by the name that uname(2) gives it."""

    audit_arch: int
    """AUDIT_ARCH_* of linux/audit.h"""
    column: int
    """in `NUMBERS`"""
    seccomp: int
    """the number of seccomp(2) itself"""
    least_foreign: int | None = None
    """From this number on, calls belong to another ABI of the same architecture (x32)."""


MACHINES = {
    "x86_64": Machine(audit_arch=0xC000003E, column=0, seccomp=317, least_foreign=0x40000000),
    "aarch64": Machine(audit_arch=0xC00000B7, column=1, seccomp=277),
}

NUMBERS: Mapping[str, tuple[int | None, int | None]] = {
    "acct": (163, 89),
    "add_key": (248, 217),
    "bpf": (321, 280),
    "chroot": (161, 51),
    "clock_settime": (227, 112),
    "clone": (56, 220),
    "clone3": (435, 435),
    "delete_module": (176, 106),
    "fanotify_init": (300, 262),
    "finit_module": (313, 273),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "fspick": (433, 433),
    "init_module": (175, 105),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425),
    "ioctl": (16, 29),
    "ioperm": (173, None),
    "iopl": (172, None),
    "kcmp": (312, 272),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "memfd_secret": (447, 447),
    "modify_ldt": (154, None),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "open_tree_attr": (467, 467),
    "perf_event_open": (298, 241),
    "pidfd_getfd": (438, 438),
    "pivot_root": (155, 41),
    "prlimit64": (302, 261),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "reboot": (169, 142),
    "request_key": (249, 218),
    "sendmmsg": (307, 269),
    "sendmsg": (46, 211),
    "sendto": (44, 206),
    "setdomainname": (171, 162),
    "setfsgid": (123, 152),
    "setfsuid": (122, 151),
    "setgid": (106, 144),
    "setgroups": (116, 159),
    "sethostname": (170, 161),
    "setns": (308, 268),
    "setregid": (114, 143),
    "setresgid": (119, 149),
    "setresuid": (117, 147),
    "setreuid": (113, 145),
    "settimeofday": (164, 170),
    "setuid": (105, 146),
    "socket": (41, 198),
    "socketpair": (53, 199),
    "swapoff": (168, 225),
    "swapon": (167, 224),
    "syslog": (103, 116),
    "truncate": (76, 45),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
    "vhangup": (153, 58),
}
"""The number of each call on x86_64 and on aarch64; None where it does not exist. A test compares libseccomp's."""

_LOAD, _AND, _RETURN = 0x20, 0x54, 0x06
_IF_EQUAL, _IF_AT_LEAST = 0x15, 0x35
_NUMBER_AT, _ARCH_AT, _ARGUMENTS_AT = 0, 4, 16
_RET_ALLOW, _RET_ERRNO, _RET_KILL_PROCESS = 0x7FFF0000, 0x00050000, 0x80000000
_Instruction = tuple[int, int, int, int]
"""Its code; how many instructions to skip if the condition is true, and if it is false; its operand."""


def assemble(judged: Rules, machine_name: str) -> bytes:
    """The program that gives these verdicts. Raises KeyError for a machine that is not in `MACHINES`.

    A call of another architecture, such as i386 on x86_64, kills the process: its numbers mean other calls.
    """
    machine = MACHINES[machine_name]
    program: list[_Instruction] = [
        (_LOAD, 0, 0, _ARCH_AT),
        (_IF_EQUAL, 1, 0, machine.audit_arch),
        (_RETURN, 0, 0, _RET_KILL_PROCESS),
        (_LOAD, 0, 0, _NUMBER_AT),
    ]
    if machine.least_foreign is not None:
        program += [(_IF_AT_LEAST, 0, 1, machine.least_foreign), _verdict(ENOSYS)]
    for name, cases in judged.items():
        which = NUMBERS[name][machine.column]
        if which is not None:
            block = [instruction for case in cases for instruction in _case(case)]
            if cases[-1].conditions:
                block.append(_verdict(ALLOW))
            program += [(_IF_EQUAL, 0, len(block), which), *block]
    program.append(_verdict(ALLOW))
    return b"".join(struct.pack("<HBBI", *instruction) for instruction in program)


def _case(case: Case) -> list[_Instruction]:
    """Leads to its end if the case does not fit."""
    code = [_verdict(case.verdict)]
    for condition in reversed(case.conditions):
        masked = [] if condition.mask == _ALL_BITS else [(_AND, 0, 0, condition.mask)]
        load = (_LOAD, 0, 0, _ARGUMENTS_AT + 8 * condition.argument)  # the low half: both machines are little-endian
        skips = (0, len(code)) if condition.is_.wants else (len(code), 0)
        code = [load, *masked, (condition.is_.instruction, *skips, condition.value), *code]
    return code


def _verdict(verdict: int) -> _Instruction:
    return (_RETURN, 0, 0, _RET_ERRNO | verdict if verdict else _RET_ALLOW)
