"""Finds out which mechanisms this machine has for containing functions; what `ps` says of them."""

from msgspec import Struct

from sandbox import cgroups
from sandbox.cgroups import Controller
from sandbox.containment import Level, Mechanism
from sandbox.levels import Found, Missing, best_level, mechanisms_of

_NOT_BUILT = Missing("not built in this version")
_NOT_ROOT = Missing("not started as root: functions could signal the server and read its files")

_CGROUPS: dict[Controller, Mechanism] = {
    "memory": Mechanism.MEMORY_CGROUP,
    "pids": Mechanism.PROCESS_CGROUP,
    "cpu": Mechanism.CPU_CGROUP,
}


class Isolation(Struct, frozen=True):
    """The isolation level and its mechanisms. `missing` maps each mechanism that is not in force to the reason."""

    level: str
    in_force: tuple[str, ...]
    missing: dict[str, str]


def find(*, as_root: bool) -> Found:
    """Return what the machine has. `as_root`: the server runs as root, functions as another user."""
    built = mechanisms_of(Level.LIMITS)
    missing = {one: _NOT_BUILT for one in Mechanism if one not in built or one.endswith(("cgroup", "per function"))}
    del missing[Mechanism.NO_NEW_PRIVILEGES]
    lacks = cgroups.find().lacks
    for name, mechanism in _CGROUPS.items():
        del missing[mechanism]
        if name in lacks:
            missing[mechanism] = Missing(lacks[name].why, lacks[name].how)
    if not as_root:
        missing[Mechanism.USER_APART] = _NOT_ROOT
    return Found(missing)


def current(*, as_root: bool) -> Isolation:
    """The isolation of this version. `as_root`: the server runs as root, functions as another user."""
    found = find(as_root=as_root)
    in_force = tuple(one.value for one in Mechanism if found.has(one))
    return Isolation(best_level(found), in_force, {one.value: str(why) for one, why in found.missing.items()})
