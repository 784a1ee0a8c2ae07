"""What `forklight doctor` finds: which mechanisms contain the functions, what is missing, and what that needs. Pure.

A mechanism is wanted by a function if it would contain it better than the ones that it has: at level namespaces the
function needs no user of its own, for example.
"""

from collections.abc import Iterable, Mapping
from typing import Literal

from msgspec import Struct

from sandbox.containment import MIB, Endpoint, Level, Mechanism, Mount
from sandbox.levels import (
    BOX,
    MECHANISMS,
    Asked,
    CannotBeHad,
    Found,
    Refused,
    best_level,
    mechanisms_of,
    resolve,
    up_to,
)

_SPARED_BY_A_BOX = frozenset(
    (Mechanism.USER_APART, Mechanism.USER_PER_FUNCTION, Mechanism.FILE_RULES, Mechanism.PROCESS_CGROUP)
)
"""What adds nothing to a box: it shows no other files and processes, and the kernel counts its processes."""


class MechanismFound(Struct, frozen=True, kw_only=True):
    """One mechanism. `why` it is not in force, and `how` to get it, are empty if it is; `detail` says more then."""

    name: str
    level: Level
    in_force: bool
    wanted_by: tuple[str, ...]
    why: str = ""
    how: str = ""
    detail: str = ""


class FunctionFound(Struct, frozen=True, kw_only=True):
    """One function: what it asks for, and the level that it gets; None if something is refused."""

    name: str
    asked: dict[str, str]
    level: Level | None
    refused: tuple[Refused, ...] = ()


class Check(Struct, frozen=True):
    """Something else that boxes and templates need, such as an interpreter that functions can read."""

    what: str
    ok: bool
    told: str


class Diagnosis(Struct, frozen=True, kw_only=True):
    """All that was found. `pid` is that of the running server whose findings these are, None without one."""

    status: Literal["complete", "incomplete", "refused"]
    """Whether functions have all that they want, or something is missing, or wrong."""
    best: Level
    pid: int | None = None
    mechanisms: tuple[MechanismFound, ...]
    functions: tuple[FunctionFound, ...] = ()
    checks: tuple[Check, ...] = ()
    problems: tuple[str, ...] = ()
    """Of the configuration."""


def diagnose(
    found: Found,
    asked: Mapping[str, Asked],
    checks: Iterable[Check] = (),
    *,
    problems: tuple[str, ...] = (),
    pid: int | None = None,
) -> Diagnosis:
    """Return the diagnosis for these functions; without any, for one named `best` that asks for the best level."""
    checks = tuple(checks)
    functions = tuple(_function(name, one, found) for name, one in sorted(asked.items()))
    wishes = asked or {"best": Asked()}
    mechanisms = tuple(_mechanism(one, found, wishes) for one in mechanisms_of(Level.NAMESPACES))
    is_complete = all(one.in_force or not one.wanted_by for one in mechanisms) and all(check.ok for check in checks)
    return Diagnosis(
        status="refused" if problems or any(one.refused for one in functions) else _status(is_complete),
        best=best_level(found),
        pid=pid,
        mechanisms=mechanisms,
        functions=functions,
        checks=checks,
        problems=problems,
    )


def wants(asked: Asked, mechanism: Mechanism, found: Found) -> bool:
    """Return whether the mechanism would contain a function better that asks for this."""
    level = asked.level or Level.NAMESPACES
    if mechanism not in mechanisms_of(level):
        return False
    has_box = level == Level.NAMESPACES and found.has(*BOX)
    match mechanism:
        case Mechanism.CPU_CGROUP:
            return asked.cpu is not None
        case Mechanism.NETWORK_NAMESPACE:
            return asked.network is not True
        case Mechanism.TCP_RULES:
            return not isinstance(asked.network, bool) and not (has_box and found.has(Mechanism.NETWORK_NAMESPACE))
    return not (has_box and mechanism in _SPARED_BY_A_BOX)


def _status(is_complete: bool) -> Literal["complete", "incomplete"]:
    return "complete" if is_complete else "incomplete"


def _mechanism(mechanism: Mechanism, found: Found, asked: Mapping[str, Asked]) -> MechanismFound:
    missing = found.missing.get(mechanism)
    return MechanismFound(
        name=mechanism,
        level=next(level for level in up_to(Level.NAMESPACES) if mechanism in MECHANISMS[level]),
        in_force=missing is None,
        wanted_by=tuple(name for name, one in sorted(asked.items()) if wants(one, mechanism, found)),
        why=missing.why if missing else "",
        how=missing.how if missing else "",
        detail=found.details.get(mechanism, ""),
    )


def _function(name: str, asked: Asked, found: Found) -> FunctionFound:
    try:
        return FunctionFound(name=name, asked=_told(asked), level=resolve(asked, found).level)
    except CannotBeHad as error:
        return FunctionFound(name=name, asked=_told(asked), level=None, refused=error.refused)


def _told(asked: Asked) -> dict[str, str]:
    """Return what a function asks for, by the keys of its configuration; without what is the default."""
    told = {"isolation": str(asked.level or "best")}
    if isinstance(asked.network, tuple):
        told["network"] = ", ".join(map(_place, asked.network))
    elif not asked.network:
        told["network"] = "false"
    if asked.mounts:
        told["mounts"] = ", ".join(map(_mount, asked.mounts))
    if asked.scratch_bytes is not None:
        told["scratch"] = f"{asked.scratch_bytes / MIB:g}MiB"
    limits = {"max_processes": asked.max_processes, "cpu": asked.cpu}
    return told | {key: f"{value:g}" for key, value in limits.items() if value is not None}


def _place(one: Endpoint) -> str:
    return f"[{one.host}]:{one.port}" if ":" in one.host else f"{one.host}:{one.port}"


def _mount(one: Mount) -> str:
    target = "" if one.source == one.target else f":{one.target}"
    return f"{one.source}{target}{':rw' * one.writable}"
