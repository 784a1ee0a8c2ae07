"""Finds out which mechanisms this machine has for containing functions, by trying those that may fail.

What always works is in force without a question. All of it takes some 20 ms, once in the life of a server.
"""

from collections.abc import Iterator
from functools import lru_cache

from sandbox import cgroups
from sandbox.cgroups import Controller
from sandbox.containment import Mechanism
from sandbox.launch import Account
from sandbox.levels import Found, Missing
from sandbox.namespaces import missing_namespaces
from sandbox.probes import landlock_abi, seccomp_problem

_TCP_RULES_ABI = 4
_SIGNAL_SCOPE_ABI = 6
_PORTS_ONLY = "by port, of whichever machine; UDP is open"
_NOT_ROOT = Missing(
    "the server was not started as root: at level limits, functions can signal it and read its files",
    "start it as root, or get a higher level",
)
_NO_UIDS = Missing(
    "all functions run as the same user: at level limits, they can signal one another, and read one another's files, "
    "and the environments of programs that they start, secrets included",
    'start the server as root with [machine] uids = "200000-200999", or get a higher level',
)

_CGROUPS: dict[Controller, Mechanism] = {
    "memory": Mechanism.MEMORY_CGROUP,
    "pids": Mechanism.PROCESS_CGROUP,
    "cpu": Mechanism.CPU_CGROUP,
}


@lru_cache(maxsize=8)
def find(account: Account) -> Found:
    """Return what the machine has for functions that run as `account`. Blocks, the first time: it starts processes."""
    missing = missing_namespaces(account) | dict(_filters())
    for name, lack in cgroups.find().lacks.items():
        missing[_CGROUPS[name]] = Missing(lack.why, lack.how)
    if not account.switch:
        missing[Mechanism.USER_APART] = _NOT_ROOT
    if account.uids is None:
        missing[Mechanism.USER_PER_FUNCTION] = _NO_UIDS
    abi = landlock_abi()
    version = {Mechanism.FILE_RULES: f"Landlock ABI {abi}"} if isinstance(abi, int) else {}
    details = version | {Mechanism.TCP_RULES: _PORTS_ONLY}
    return Found(missing, {one: told for one, told in details.items() if one not in missing})


def _filters() -> Iterator[tuple[Mechanism, Missing]]:
    """Yield what the kernel cannot filter."""
    if problem := seccomp_problem():
        yield Mechanism.SYSTEM_CALL_FILTER, Missing(problem)
    abi = landlock_abi()
    if isinstance(abi, str):
        for one in (Mechanism.FILE_RULES, Mechanism.TCP_RULES, Mechanism.SIGNAL_SCOPE):
            yield one, Missing(abi)
        return
    for one, least, linux in (
        (Mechanism.TCP_RULES, _TCP_RULES_ABI, "6.7"),
        (Mechanism.SIGNAL_SCOPE, _SIGNAL_SCOPE_ABI, "6.12"),
    ):
        if abi < least:
            yield one, Missing(f"the kernel is older than Linux {linux} (Landlock ABI {abi})", "boot a newer one")
