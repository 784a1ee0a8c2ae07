"""The filter of system calls: what the kernel decides on any call, worked out by a small machine for its program."""

import ctypes
import errno
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.seccomp import ALLOW, MACHINES, Machine, Network, Rules, assemble, filter_of, number, rules

pytestmark = pytest.mark.any_user

X86, ARM = MACHINES["x86_64"], MACHINES["aarch64"]
KILL = -1
"""What `judge` returns for the end of the process."""
SETTINGS: list[dict[str, Any]] = [
    {"in_box": box, "network": network, "truncates": truncates}
    for box in (False, True)
    for network in Network
    for truncates in (False, True)
]


def judge(program: bytes, arch: int, nr: int, args: tuple[int, ...]) -> int:
    """Run a program as the kernel does; returns 0, the errno or KILL. Anything that the kernel refuses fails."""
    data = struct.pack("<iIQ6Q", nr - (1 << 32) if nr >> 31 else nr, arch, 0, *args)
    code = list(struct.iter_unpack("<HBBI", program))
    assert 0 < len(code) <= 4096
    accumulator = at = 0
    while True:
        operation, yes, no, operand = code[at]
        at += 1
        match operation:
            case 0x20:
                assert operand % 4 == 0
                (accumulator,) = struct.unpack_from("<I", data, operand)
            case 0x54:
                accumulator &= operand
            case 0x15:
                at += yes if accumulator == operand else no
            case 0x35:
                at += yes if accumulator >= operand else no
            case 0x06:
                action, low = operand & 0xFFFF0000, operand & 0xFFFF
                verdicts: dict[int, int] = {0x7FFF0000: ALLOW, 0x00050000: low, 0x80000000: KILL}
                return verdicts[action]
            case _:
                raise AssertionError(f"no such operation: {operation:#x}")


def plainly(judged: Rules, machine: Machine, arch: int, nr: int, args: tuple[int, ...]) -> int:
    """What the rules say."""
    if arch != machine.audit_arch:
        return KILL
    if machine.least_foreign is not None and nr >= machine.least_foreign:
        return errno.ENOSYS
    for name, cases in judged.items():
        if number(name, machine) == nr:
            for case in cases:
                if all(args[one.argument] & 0xFFFFFFFF & one.mask == one.value for one in case.conditions):
                    return case.verdict
    return ALLOW


OPERANDS = sorted(
    {
        condition.value
        for each in SETTINGS
        for cases in rules(**each).values()
        for case in cases
        for condition in case.conditions
    }
)
arguments = st.tuples(
    *[
        st.one_of(
            st.sampled_from(OPERANDS),
            st.sampled_from(OPERANDS).map(lambda value: value | 1 << 32),
            st.integers(0, 31).map(lambda bit: 1 << bit),
            st.integers(0, (1 << 64) - 1),
        )
    ]
    * 6
)


@given(
    machine=st.sampled_from(list(MACHINES.values())),
    arch=st.one_of(st.sampled_from([one.audit_arch for one in MACHINES.values()]), st.integers(0, (1 << 32) - 1)),
    nr=st.one_of(st.integers(0, 480), st.integers(0, (1 << 32) - 1), st.integers(0, 480).map(lambda nr: nr | 1 << 30)),
    args=arguments,
    settings=st.sampled_from(SETTINGS),
)
@pytest.mark.invariant("I46")
def test_the_program_decides_as_the_rules_say(
    machine: Machine, arch: int, nr: int, args: tuple[int, ...], settings: dict[str, Any]
) -> None:
    judged = rules(**settings)
    assert judge(assemble(judged, machine), arch, nr, args) == plainly(judged, machine, arch, nr, args)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("name", MACHINES)
def test_every_listed_call_meets_its_rule(name: str, settings: dict[str, Any]) -> None:
    """Hypothesis may miss a number."""
    machine, judged = MACHINES[name], rules(**settings)
    program = filter_of(name, **settings)
    for nr in filter(None, (number(call, machine) for call in judged)):
        args = (0x10000000, 0x5412, 0, 0, 0, 0)
        assert judge(program, machine.audit_arch, nr, args) == plainly(judged, machine, machine.audit_arch, nr, args)


def test_the_numbers_are_those_of_libseccomp() -> None:
    """It knows no calls later than Linux 5.17; those have the same number everywhere."""
    known = ctypes.CDLL("libseccomp.so.2").seccomp_syscall_resolve_name_arch
    for name in {**rules(in_box=False, truncates=False)}:
        here = [number(name, machine) for machine in MACHINES.values()]
        theirs = [known(machine.audit_arch, name.encode()) for machine in MACHINES.values()]
        if theirs == [-1, -1]:
            assert here[0] == here[1], name
            assert (here[0] or 0) > 448, name
        else:
            assert here == [None if one < 0 else one for one in theirs], name


def verdict(call: str, *args: int, machine: Machine = X86, **settings: Any) -> int:
    program = assemble(rules(**{"in_box": False, **settings}), machine)
    nr = number(call, machine)
    assert nr is not None
    return judge(program, machine.audit_arch, nr, (*args, *[0] * (6 - len(args))))


NEW_PIDS, NEW_USER, NEW_TIME, NEW_MOUNTS = 0x20000000, 0x10000000, 0x80, 0x20000
FORK = 0x01200011
"""CLONE_CHILD_CLEARTID | CLONE_CHILD_SETTID | SIGCHLD, as the C library forks."""
THREAD = 0x3D0F00


@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)
def test_processes_and_threads_start_and_namespaces_do_not(machine: Machine) -> None:
    for flags in (FORK, THREAD):
        assert verdict("clone", flags, machine=machine, in_box=True) == ALLOW
        for new in (NEW_PIDS, NEW_USER, NEW_MOUNTS):
            assert verdict("clone", flags | new, machine=machine, in_box=True) == errno.EPERM
    assert verdict("clone3", machine=machine) == errno.ENOSYS


@pytest.mark.parametrize("flags", [NEW_PIDS, NEW_PIDS | NEW_USER, NEW_TIME, NEW_MOUNTS, 0, 0x200])
def test_only_a_box_has_pid_namespaces(flags: int) -> None:
    wanted = ALLOW if flags == NEW_PIDS else errno.EPERM
    assert verdict("unshare", flags, in_box=True) == verdict("setns", 5, flags, in_box=True) == wanted
    assert verdict("unshare", flags) == verdict("setns", 5, flags) == errno.EPERM


UNIX, INET, INET6, NETLINK, PACKET, ALG, VSOCK = 1, 2, 10, 16, 17, 38, 40


def test_sockets_are_local_and_of_the_internet() -> None:
    for family in (UNIX, INET, INET6, NETLINK):
        assert verdict("socket", family, 3) == ALLOW
    for family in (PACKET, ALG, VSOCK, 0xFFFFFFFF):
        assert verdict("socket", family, 3) == verdict("socketpair", family, 3) == errno.EAFNOSUPPORT
    for protocol in (4, 12, 15, 16, 21):
        assert verdict("socket", NETLINK, 3, protocol) == errno.EAFNOSUPPORT


def test_without_a_network_sockets_are_local() -> None:
    for family in (INET, INET6):
        assert verdict("socket", family, 1, network=Network.NONE) == errno.EACCES
    for family in (UNIX, NETLINK):
        assert verdict("socket", family, 1, network=Network.NONE) == ALLOW


STREAM, DATAGRAM, RAW, CLOSE_ON_EXEC = 1, 2, 3, 0o2000000
TCP, UDP, SCTP, MPTCP = 6, 17, 132, 262


@pytest.mark.parametrize("family", [INET, INET6])
def test_where_tcp_has_rules_by_port_there_is_no_way_past_them(family: int) -> None:
    for kind, protocol in ((STREAM, 0), (STREAM | CLOSE_ON_EXEC, TCP), (DATAGRAM, 0), (DATAGRAM, UDP)):
        assert verdict("socket", family, kind, protocol, network=Network.PORTS) == ALLOW
    for kind, protocol in ((STREAM, MPTCP), (STREAM, SCTP), (RAW, TCP), (STREAM, UDP), (DATAGRAM, 136)):
        assert verdict("socket", family, kind, protocol, network=Network.PORTS) == errno.EPROTONOSUPPORT
    for call, at in (("sendto", 3), ("sendmsg", 2), ("sendmmsg", 3)):
        flags = [0] * at
        assert verdict(call, *flags, 0x20000000 | 0x4000, network=Network.PORTS) == errno.EOPNOTSUPP
        assert verdict(call, *flags, 0x4000, network=Network.PORTS) == verdict(call, *flags, 0x20000000) == ALLOW
