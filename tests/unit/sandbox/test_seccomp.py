"""The filters of system calls: what the kernel decides on any call, worked out by a small machine for its program."""

import ctypes
import errno
import operator
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.bpf import ALLOW, MACHINES, NUMBERS, Condition, Is, Rules, assemble
from sandbox.seccomp import Network, rules
from sandbox.user_filter import Ids, user_rules

pytestmark = pytest.mark.any_user

USERS, GROUPS = Ids(200_000, 200_999, also=65_534), Ids(200_000, 200_999, also=100)
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
            case 0x25:
                at += yes if accumulator > operand else no
            case 0x35:
                at += yes if accumulator >= operand else no
            case 0x06:
                action, low = operand & 0xFFFF0000, operand & 0xFFFF
                verdicts: dict[int, int] = {0x7FFF0000: ALLOW, 0x00050000: low, 0x80000000: KILL}
                return verdicts[action]
            case _:
                raise AssertionError(f"no such operation: {operation:#x}")


def holds(condition: Condition, args: tuple[int, ...]) -> bool:
    found = args[condition.argument] & 0xFFFFFFFF & condition.mask
    comparisons = {Is.EQUAL: operator.eq, Is.NOT_EQUAL: operator.ne, Is.BELOW: operator.lt, Is.ABOVE: operator.gt}
    return bool(comparisons[condition.is_](found, condition.value))


def plainly(judged: Rules, machine_name: str, arch: int, nr: int, args: tuple[int, ...]) -> int:
    """What the rules say."""
    machine = MACHINES[machine_name]
    if arch != machine.audit_arch:
        return KILL
    if machine.least_foreign is not None and nr >= machine.least_foreign:
        return errno.ENOSYS
    for name, cases in judged.items():
        if NUMBERS[name][machine.column] == nr:
            return next((case.verdict for case in cases if all(holds(one, args) for one in case.conditions)), ALLOW)
    return ALLOW


RULES = [*(rules(**each) for each in SETTINGS), user_rules(USERS, GROUPS)]
OPERANDS = sorted(
    {
        condition.value + beside
        for judged in RULES
        for cases in judged.values()
        for case in cases
        for condition in case.conditions
        for beside in (-1, 0, 1)
        if condition.value + beside >= 0
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
    machine=st.sampled_from(list(MACHINES)),
    arch=st.one_of(st.sampled_from([one.audit_arch for one in MACHINES.values()]), st.integers(0, (1 << 32) - 1)),
    nr=st.one_of(st.integers(0, 480), st.integers(0, (1 << 32) - 1), st.integers(0, 480).map(lambda nr: nr | 1 << 30)),
    args=arguments,
    judged=st.sampled_from(RULES),
)
@pytest.mark.invariant("I46")
def test_a_program_decides_as_its_rules_say(
    machine: str, arch: int, nr: int, args: tuple[int, ...], judged: Rules
) -> None:
    assert judge(assemble(judged, machine), arch, nr, args) == plainly(judged, machine, arch, nr, args)


@given(machine=st.sampled_from(list(MACHINES)), judged=st.sampled_from(RULES), args=arguments, data=st.data())
@pytest.mark.invariant("I46")
def test_a_program_decides_on_the_calls_that_its_rules_name(
    machine: str, judged: Rules, args: tuple[int, ...], data: st.DataObject
) -> None:
    """Which random numbers hardly ever are."""
    nr = NUMBERS[data.draw(st.sampled_from(sorted(judged)))][MACHINES[machine].column]
    if nr is not None:
        arch = MACHINES[machine].audit_arch
        assert judge(assemble(judged, machine), arch, nr, args) == plainly(judged, machine, arch, nr, args)


def test_the_numbers_are_those_of_libseccomp() -> None:
    """It knows no calls later than Linux 5.17; those have the same number everywhere."""
    known = ctypes.CDLL("libseccomp.so.2").seccomp_syscall_resolve_name_arch
    for name, here in NUMBERS.items():
        theirs = [known(machine.audit_arch, name.encode()) for machine in MACHINES.values()]
        if theirs == [-1, -1]:
            assert here[0] == here[1], name
            assert (here[0] or 0) > 448, name
        else:
            assert list(here) == [None if one < 0 else one for one in theirs], name


def verdict(call: str, *args: int, machine: str = "x86_64", **settings: Any) -> int:
    return decided(rules(**{"in_box": False, **settings}), machine, call, *args)


def decided(judged: Rules, machine: str, call: str, *args: int) -> int:
    nr = NUMBERS[call][MACHINES[machine].column]
    assert nr is not None
    return judge(assemble(judged, machine), MACHINES[machine].audit_arch, nr, (*args, *[0] * (6 - len(args))))


NEW_PIDS, NEW_USER, NEW_TIME, NEW_MOUNTS = 0x20000000, 0x10000000, 0x80, 0x20000
FORK = 0x01200011
"""CLONE_CHILD_CLEARTID | CLONE_CHILD_SETTID | SIGCHLD, as the C library forks."""
THREAD = 0x3D0F00


@pytest.mark.parametrize("machine", MACHINES)
def test_processes_and_threads_start_and_namespaces_do_not(machine: str) -> None:
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


UNCHANGED, OTHER = 0xFFFFFFFF, 1000


@pytest.mark.parametrize("machine", MACHINES)
def test_a_zygote_becomes_one_of_the_functions_users_and_nobody_else(machine: str) -> None:
    judged = user_rules(USERS, GROUPS)
    for uid in (200_000, 200_500, 200_999, 65_534, UNCHANGED):
        assert decided(judged, machine, "setresuid", uid, uid, UNCHANGED) == ALLOW
    for uid in (0, OTHER, 100, 199_999, 201_000):
        assert decided(judged, machine, "setresuid", uid, 200_500, 200_500) == errno.EPERM
        assert decided(judged, machine, "setresuid", 200_500, 200_500, uid) == errno.EPERM
        assert decided(judged, machine, "setuid", uid) == errno.EPERM
    assert decided(judged, machine, "setresgid", 100, 100, 100) == ALLOW
    assert decided(judged, machine, "setregid", 65_534, 100) == errno.EPERM
    assert decided(judged, machine, "setgroups", 0, 0) == decided(judged, machine, "setfsuid", 200_500) == errno.EPERM
    assert decided(judged, machine, "clone", FORK | NEW_USER) == decided(judged, machine, "unshare", NEW_USER)
    assert decided(judged, machine, "clone", FORK) == ALLOW
