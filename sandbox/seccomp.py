"""The system calls that no function has a use for, and the program for the kernel that refuses them. Pure.

Theory of operation. The kernel runs a small program (classic BPF, seccomp(2)) before every system call of a process and
of all its descendants. It sees the number of the call and its arguments, but no memory, and returns whether the call
may run. Ours is a deny-list: what opens the kernel's wide or privileged interfaces is refused as if it did not exist or
the caller had no right to it; all other calls run. For a call that always runs, the kernel remembers the verdict and
does not run the program again (since Linux 5.11), so only the calls that are listed here cost anything.

Of an argument only the low 32 bits are looked at: the kernel reads no more of those that are judged here.
"""

import struct
from collections.abc import Mapping
from enum import Enum, auto
from errno import EACCES, EAFNOSUPPORT, ENOSYS, EOPNOTSUPP, EPERM, EPROTONOSUPPORT
from functools import cache

from msgspec import Struct

ALLOW = 0
"""The verdict that lets a call run. Any other verdict is the errno with which it fails."""
_ALL_BITS = 0xFFFFFFFF


class Condition(Struct, frozen=True):
    """Whether `argument & mask == value`, for one of the arguments 0 to 5."""

    argument: int
    value: int
    mask: int = _ALL_BITS


class Case(Struct, frozen=True):
    """The verdict on a call whose arguments meet all conditions."""

    verdict: int
    conditions: tuple[Condition, ...] = ()


Rules = Mapping[str, tuple[Case, ...]]
"""By the name of a system call; the first case that fits decides. A call that fits no case runs."""


class Network(Enum):
    """Which sockets there are, besides local ones."""

    ALL = auto()
    PORTS = auto()
    """those of TCP, for which Landlock has rules by port, and of UDP"""
    NONE = auto()


class Machine(Struct, frozen=True):
    """A processor architecture, by the name that uname(2) gives it."""

    audit_arch: int
    """AUDIT_ARCH_* of linux/audit.h"""
    column: int
    """in `_NUMBERS`"""
    seccomp: int
    """the number of seccomp(2) itself"""
    least_foreign: int | None = None
    """From this number on, calls belong to another ABI of the same architecture (x32)."""


MACHINES = {
    "x86_64": Machine(audit_arch=0xC000003E, column=0, seccomp=317, least_foreign=0x40000000),
    "aarch64": Machine(audit_arch=0xC00000B7, column=1, seccomp=277),
}

_NUMBERS: Mapping[str, tuple[int | None, int | None]] = {
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
    "sethostname": (170, 161),
    "setns": (308, 268),
    "settimeofday": (164, 170),
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

_NAMESPACES = 0x7E020080  # CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET, NEWTIME of linux/sched.h
_NEW_PIDS = 0x20000000  # CLONE_NEWPID
_OF_CLONE = _NAMESPACES & ~0xFF  # the low byte is the signal of the child's end
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
_AF_UNIX, _AF_INET, _AF_INET6, _AF_NETLINK = 1, 2, 10, 16
_NETLINK_ROUTE = 0
_STREAM, _DATAGRAM, _SOCKET_TYPE = 1, 2, 0xF
_TCP, _UDP = 6, 17
_MSG_FASTOPEN = 0x20000000

_ELSEWHERE = {
    *("ioctl", "prlimit64", "clone", "clone3", "unshare", "setns", "socket", "socketpair", "truncate"),
    *("sendto", "sendmsg", "sendmmsg"),
}
_REFUSED = {name: (Case(EPERM),) for name in _NUMBERS if name not in _ELSEWHERE}


def rules(*, in_box: bool, network: Network = Network.ALL, truncates: bool = True) -> Rules:
    """The verdicts on all calls that are judged.

    `in_box`: the template makes a pid namespace for each instance, which takes a capability that instances do not have.
    Not `truncates`: no truncate(2), which Landlock did not know before ABI 3; ftruncate(2) works.
    """
    judged: dict[str, tuple[Case, ...]] = {
        "ioctl": (
            Case(EPERM, (Condition(1, _TIOCSTI),)),  # types into the terminal of whoever shares it
            Case(EPERM, (Condition(1, _TIOCLINUX),)),
        ),
        # its own limits only: those of a neighbour with the same user, set to nothing, would end it
        "prlimit64": (Case(ALLOW, (Condition(0, 0),)), Case(EPERM)),
        "clone": (Case(ALLOW, (Condition(0, 0, mask=_OF_CLONE),)), Case(EPERM)),
        "clone3": (Case(ENOSYS),),  # its flags are in memory; the C library then takes clone
        "unshare": (*_only(0, _NEW_PIDS, in_box), Case(EPERM)),
        "setns": (*_only(1, _NEW_PIDS, in_box), Case(EPERM)),
        "socket": _sockets(network),
        "socketpair": _sockets(network),
    }
    if network is Network.PORTS:
        judged |= _NO_FAST_OPEN
    if not truncates:
        judged["truncate"] = (Case(EPERM),)
    return judged | _REFUSED


def _only(argument: int, value: int, when: bool) -> tuple[Case, ...]:
    return (Case(ALLOW, (Condition(argument, value),)),) if when else ()


_NO_FAST_OPEN = {
    name: (Case(ALLOW, (Condition(at, 0, mask=_MSG_FASTOPEN),)), Case(EOPNOTSUPP))
    for name, at in (("sendto", 3), ("sendmsg", 2), ("sendmmsg", 3))
}
"""A first message that is sent with this flag connects its socket, and Landlock's rules for TCP look at connect(2)
only. A kernel without TCP Fast Open gives the same error."""


def _sockets(network: Network) -> tuple[Case, ...]:
    """Local sockets, those of the internet, and questions about interfaces and routes (netlink), which the C library
    asks for getaddrinfo and if_nameindex and which reach nothing. The other families, such as AF_VSOCK, AF_ALG and
    AF_PACKET, fail as in a kernel that has not got them.
    """
    return (
        Case(ALLOW, (Condition(0, _AF_UNIX),)),
        *_internet(_AF_INET, network),
        *_internet(_AF_INET6, network),
        Case(ALLOW, (Condition(0, _AF_NETLINK), Condition(2, _NETLINK_ROUTE))),
        Case(EAFNOSUPPORT),
    )


def _internet(family: int, network: Network) -> tuple[Case, ...]:
    """Its sockets. MPTCP and SCTP connect to the ports of TCP and beside them, and no rule of Landlock knows them."""
    this = Condition(0, family)
    if network is not Network.PORTS:
        return (Case(ALLOW if network is Network.ALL else EACCES, (this,)),)
    known = ((_STREAM, 0), (_STREAM, _TCP), (_DATAGRAM, 0), (_DATAGRAM, _UDP))
    allowed = (Case(ALLOW, (this, Condition(1, kind, mask=_SOCKET_TYPE), Condition(2, one))) for kind, one in known)
    return (*allowed, Case(EPROTONOSUPPORT, (this,)))


def number(name: str, machine: Machine) -> int | None:
    """The number of a system call, None if the machine does not have it. Raises KeyError for a name unknown here."""
    return _NUMBERS[name][machine.column]


# The program: struct sock_filter of linux/filter.h, offsets into struct seccomp_data of linux/seccomp.h.
_LOAD, _AND, _RETURN = 0x20, 0x54, 0x06
_IF_EQUAL, _IF_AT_LEAST = 0x15, 0x35
_NUMBER_AT, _ARCH_AT, _ARGUMENTS_AT = 0, 4, 16
_RET_ALLOW, _RET_ERRNO, _RET_KILL_PROCESS = 0x7FFF0000, 0x00050000, 0x80000000
_Instruction = tuple[int, int, int, int]
"""Its code; how many instructions to skip if the condition is true, and if it is false; its operand."""


@cache
def filter_of(machine_name: str, *, in_box: bool, network: Network = Network.ALL, truncates: bool = True) -> bytes:
    """The program for `rules(…)`. Raises KeyError for a machine that is not in `MACHINES`."""
    return assemble(rules(in_box=in_box, network=network, truncates=truncates), MACHINES[machine_name])


def assemble(judged: Rules, machine: Machine) -> bytes:
    """The program that gives these verdicts on this machine.

    A call of another architecture, such as i386 on x86_64, kills the process: its numbers mean other calls.
    """
    program: list[_Instruction] = [
        (_LOAD, 0, 0, _ARCH_AT),
        (_IF_EQUAL, 1, 0, machine.audit_arch),
        (_RETURN, 0, 0, _RET_KILL_PROCESS),
        (_LOAD, 0, 0, _NUMBER_AT),
    ]
    if machine.least_foreign is not None:
        program += [(_IF_AT_LEAST, 0, 1, machine.least_foreign), _verdict(ENOSYS)]
    for name, cases in judged.items():
        which = number(name, machine)
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
        code = [load, *masked, (_IF_EQUAL, 0, len(code), condition.value), *code]
    return code


def _verdict(verdict: int) -> _Instruction:
    return (_RETURN, 0, 0, _RET_ERRNO | verdict if verdict else _RET_ALLOW)
