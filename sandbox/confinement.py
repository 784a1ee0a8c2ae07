"""What a template does to itself before it runs the function's code: the `confine` part of its `load` message."""

import os
from collections.abc import Iterable
from pathlib import Path

from msgspec import Struct

from sandbox import landlock, seccomp
from sandbox.containment import Containment, Endpoint, Level, Mechanism
from sandbox.errors import LoadFailed
from sandbox.landlock import Ruleset
from sandbox.probes import landlock_abi, seccomp_problem
from sandbox.seccomp import Network

_CAP_SYS_ADMIN = 1 << 21
ADVICE = "`forklight doctor` says what this machine has"


class Confinement(Struct, frozen=True):
    """Everything that it gives up, for itself and for all instances. The guest applies all of it or fails."""

    level: Level
    network: bool
    """whether it has any; both are for what the guest says of an error"""
    capabilities: int
    """those that it keeps, as a set of bits; its instances keep none"""
    landlock: Ruleset | None
    seccomp: str | None
    """a program for the kernel, in hexadecimal digits"""


def confinement(containment: Containment, readable: Iterable[Path], private: Path) -> Confinement | None:
    """What applies to a template of this function; None at level `limits`.

    `readable`: its code, the guest, the interpreter and the libraries; `private`: where its private folders lie.

    Raises LoadFailed if this machine does not have it.
    """
    if containment.level is Level.LIMITS:
        return None
    in_box = containment.level is Level.NAMESPACES
    abi = landlock_abi()
    if not {Mechanism.FILE_RULES, Mechanism.SIGNAL_SCOPE} <= containment.without and isinstance(abi, str):
        raise _missing("rules for files", abi)
    version = abi if isinstance(abi, int) else 0
    return Confinement(
        level=containment.level,
        network=containment.network is not False,
        capabilities=_CAP_SYS_ADMIN if in_box else 0,
        landlock=landlock.ruleset(containment, version, (*readable, *_resolver()), private),
        seccomp=None if Mechanism.SYSTEM_CALL_FILTER in containment.without else _filter(containment, version),
    )


def _resolver() -> tuple[Path, ...]:
    """The folder to which /etc/resolv.conf leads. systemd-resolved and others replace the file there, and a rule for
    the file alone would not know the new one.
    """
    place = Path("/etc/resolv.conf").resolve()
    return () if place.parent == Path("/etc") else (place.parent,)


def _filter(containment: Containment, abi: int) -> str:
    if problem := seccomp_problem():
        raise _missing("filter of system calls", problem)
    in_box = containment.level is Level.NAMESPACES
    has_own_network = in_box and Mechanism.NETWORK_NAMESPACE not in containment.without
    program = seccomp.filter_of(
        os.uname().machine,
        in_box=in_box,
        network=Network.ALL if has_own_network else _network(containment.network),
        truncates=in_box or abi >= landlock.TRUNCATES,
    )
    return program.hex()


def _network(wanted: bool | tuple[Endpoint, ...]) -> Network:
    if isinstance(wanted, bool):
        return Network.ALL if wanted else Network.NONE
    return Network.PORTS


def _missing(what: str, why: str) -> LoadFailed:
    return LoadFailed("InitFailed", f"the function cannot have its {what}: {why}; {ADVICE}")
