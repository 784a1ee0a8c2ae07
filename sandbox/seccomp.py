"""The system calls that no function has a use for. Pure; `bpf.py` makes a program for the kernel of it.

It is a deny-list: what opens the kernel's wide or privileged interfaces is refused as if it did not exist or the caller
had no right to it; all other calls run.
"""

from enum import Enum, auto
from errno import EACCES, EAFNOSUPPORT, ENOSYS, EOPNOTSUPP, EPERM, EPROTONOSUPPORT
from functools import lru_cache

from sandbox.bpf import ALLOW, Case, Condition, Rules, assemble


class Network(Enum):
    """Which sockets there are, besides local ones."""

    ALL = auto()
    PORTS = auto()
    """those of TCP, for which Landlock has rules by port, and of UDP"""
    NONE = auto()


_NAMESPACES = 0x7E020080  # CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET, NEWTIME of linux/sched.h
_NEW_PIDS = 0x20000000  # CLONE_NEWPID
_OF_CLONE = _NAMESPACES & ~0xFF  # the low byte is the signal of the child's end
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
_AF_UNIX, _AF_INET, _AF_INET6, _AF_NETLINK = 1, 2, 10, 16
_NETLINK_ROUTE = 0
_STREAM, _DATAGRAM, _SOCKET_TYPE = 1, 2, 0xF
_TCP, _UDP = 6, 17
_MSG_FASTOPEN = 0x20000000

_REFUSED = (
    *("acct", "add_key", "bpf", "chroot", "clock_settime", "delete_module", "fanotify_init", "finit_module"),
    *("fsconfig", "fsmount", "fsopen", "fspick", "init_module", "io_uring_enter", "io_uring_register"),
    *("io_uring_setup", "ioperm", "iopl", "kcmp", "kexec_file_load", "kexec_load", "keyctl", "memfd_secret"),
    *("modify_ldt", "mount", "mount_setattr", "move_mount", "open_by_handle_at", "open_tree", "open_tree_attr"),
    *("perf_event_open", "pidfd_getfd", "pivot_root", "process_vm_readv", "process_vm_writev", "ptrace"),
    *("quotactl", "quotactl_fd", "reboot", "request_key", "setdomainname", "sethostname", "settimeofday"),
    *("swapoff", "swapon", "syslog", "umount2", "userfaultfd", "vhangup"),
)
"""Other processes' memory; namespaces, mounts and keys; the kernel's own programs, modules, clocks and devices."""


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
    return judged | {name: (Case(EPERM),) for name in _REFUSED}


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


@lru_cache(maxsize=16)
def filter_of(machine_name: str, *, in_box: bool, network: Network = Network.ALL, truncates: bool = True) -> bytes:
    """The program for `rules(…)`. Raises KeyError for a machine that there is none for."""
    return assemble(rules(in_box=in_box, network=network, truncates=truncates), machine_name)
