"""What a function gets of what it asks for, given the mechanisms that the machine has. Pure.

Whatever is asked for by name is had or refused; `best` takes what there is, one mechanism at a time.
"""

from collections.abc import Iterator, Mapping, Set

from msgspec import Struct

from sandbox import network
from sandbox.containment import MIB, Containment, Endpoint, Level, Mechanism, Mount
from sandbox.errors import SandboxError

SCRATCH_BYTES = 64 * MIB
MAX_PROCESSES = 1024

MECHANISMS: Mapping[Level, tuple[Mechanism, ...]] = {
    Level.LIMITS: (
        Mechanism.MEMORY_CGROUP,
        Mechanism.PROCESS_CGROUP,
        Mechanism.CPU_CGROUP,
        Mechanism.USER_APART,
        Mechanism.USER_PER_FUNCTION,
        Mechanism.NO_CAPABILITIES,
        Mechanism.NO_NEW_PRIVILEGES,
        Mechanism.NO_INSPECTION,
        Mechanism.SESSION,
        Mechanism.RESOURCE_LIMITS,
        Mechanism.WATCHED_MEMORY,
        Mechanism.CLEAN_ENVIRONMENT,
        Mechanism.CLOSED_DESCRIPTORS,
    ),
    Level.FILTERS: (
        Mechanism.SYSTEM_CALL_FILTER,
        Mechanism.FILE_RULES,
        Mechanism.SIGNAL_SCOPE,
        Mechanism.TCP_RULES,
    ),
    Level.NAMESPACES: (
        Mechanism.USER_NAMESPACE,
        Mechanism.MOUNT_NAMESPACE,
        Mechanism.PROCESS_NAMESPACE,
        Mechanism.IPC_NAMESPACE,
        Mechanism.HOST_NAME_NAMESPACE,
        Mechanism.NETWORK_NAMESPACE,
    ),
}
"""What each level adds to those below it, where the machine has it."""
BOX = frozenset(MECHANISMS[Level.NAMESPACES]) - {Mechanism.NETWORK_NAMESPACE}
"""Without one of these there is no box; one with the network of the machine is a box."""
REQUIRED: Mapping[Level, frozenset[Mechanism]] = {
    Level.LIMITS: frozenset(),
    Level.FILTERS: frozenset((Mechanism.SYSTEM_CALL_FILTER, Mechanism.FILE_RULES)),
    Level.NAMESPACES: BOX | {Mechanism.SYSTEM_CALL_FILTER},
}
"""What a level that is asked for by name has to have. A box needs no rules for files: nothing else is there."""
_ASCENDING = tuple(MECHANISMS)


class Missing(Struct, frozen=True):
    """Why the machine does not have a mechanism, and how to get it."""

    why: str
    how: str = ""

    def __str__(self) -> str:
        return f"{self.why}: {self.how}" if self.how else self.why


class Found(Struct, frozen=True):
    """Which mechanisms the machine has: all but the `missing` ones. `details` says more of those that it has."""

    missing: dict[Mechanism, Missing] = {}
    details: dict[Mechanism, str] = {}

    def has(self, *mechanisms: Mechanism) -> bool:
        """Return whether the machine has all of these."""
        return not self.missing.keys() & set(mechanisms)


class Asked(Struct, frozen=True, kw_only=True):
    """What a function asks for. None is what there is: the best level, and the default of a limit if it can be had."""

    level: Level | None = None
    mounts: tuple[Mount, ...] = ()
    network: bool | tuple[Endpoint, ...] = True
    scratch_bytes: int | None = None
    max_processes: int | None = None
    cpu: float | None = None
    loopback: bool = False
    """Whether its processes speak to one another over the loopback interface, as a command and its instance do. Only a
    box keeps that and nothing else of the network."""


class Refused(Struct, frozen=True):
    """What cannot be had: the key that asks for it, and why."""

    key: str
    why: str


class CannotBeHad(SandboxError):
    """What a function asks for by name cannot be had on this machine."""

    def __init__(self, refused: tuple[Refused, ...]) -> None:
        super().__init__("; ".join(f"{one.key} {one.why}" for one in refused))
        self.refused = refused


def up_to(level: Level) -> tuple[Level, ...]:
    """Return the levels from the lowest to this one."""
    return _ASCENDING[: _ASCENDING.index(level) + 1]


def mechanisms_of(level: Level) -> tuple[Mechanism, ...]:
    """Return what a level may have, and those below it, from the highest level to the lowest."""
    return tuple(one for below in reversed(up_to(level)) for one in MECHANISMS[below])


def best_level(found: Found) -> Level:
    """Return the highest level that the machine has: a box, or either of the filters, even if others are missing."""
    if found.has(*BOX):
        return Level.NAMESPACES
    return Level.FILTERS if REQUIRED[Level.FILTERS] - found.missing.keys() else Level.LIMITS


def resolve(asked: Asked, found: Found) -> Containment:
    """Return what is in force for a function. Raises CannotBeHad."""
    level = best_level(found) if asked.level is None else asked.level
    without = frozenset(found.missing.keys() & set(mechanisms_of(level)))
    has = frozenset(mechanisms_of(level)) - without
    if refused := tuple(_refused(asked, level, has, found)):
        raise CannotBeHad(refused)
    return Containment(
        level=level,
        without=without,
        mounts=tuple(sorted(asked.mounts, key=lambda mount: mount.target.parts)),
        network=asked.network,
        scratch_bytes=SCRATCH_BYTES if asked.scratch_bytes is None else asked.scratch_bytes,
        max_processes=MAX_PROCESSES if asked.max_processes is None else asked.max_processes,
        cpu=asked.cpu,
    )


def _refused(asked: Asked, level: Level, has: frozenset[Mechanism], found: Found) -> Iterator[Refused]:
    if asked.level is not None and (causes := _causes(REQUIRED[asked.level], found)):
        yield Refused("isolation", f'"{asked.level}" cannot be had: {"; ".join(causes)}; or write "best"')
        return
    if asked.network is not True and not _bounds_network(asked, has):
        yield Refused("network", _no_network(asked, found))
    yield from (Refused("network", why) for why in _unreachable(asked.network))
    if asked.cpu is not None and Mechanism.CPU_CGROUP not in has:
        yield Refused("cpu", f"cannot be had: {found.missing[Mechanism.CPU_CGROUP]}; or leave it out")
    if asked.max_processes is not None and not _bounds_processes(has):
        uncounted = found.missing[Mechanism.PROCESS_CGROUP]
        yield Refused("max_processes", f"cannot be had at level {level}: {uncounted}; or leave it out")
    if level != Level.NAMESPACES:
        yield from _needs_box(asked, found)


def _needs_box(asked: Asked, found: Found) -> Iterator[Refused]:
    """Yield what only a box can do, of a function that has none."""
    why = _why_not(asked, BOX, found)
    if asked.scratch_bytes is not None:
        yield Refused("scratch", f"needs isolation at level namespaces: {why}; or leave it out")
    if any(mount.source != mount.target for mount in asked.mounts):
        yield Refused("mounts", f"to another place need isolation at level namespaces: {why}; or mount it where it is")


def _bounds_network(asked: Asked, has: frozenset[Mechanism]) -> bool:
    """Whether a network other than all can be kept to."""
    return bool(has & _network_bounds(asked))


def _network_bounds(asked: Asked) -> set[Mechanism]:
    """What can keep a function to its network: a box, or a filter."""
    if asked.loopback:
        return {Mechanism.NETWORK_NAMESPACE}
    filtered = Mechanism.SYSTEM_CALL_FILTER if asked.network is False else Mechanism.TCP_RULES
    return {Mechanism.NETWORK_NAMESPACE, filtered}


def _unreachable(places: bool | tuple[Endpoint, ...]) -> Iterator[str]:
    """Yield which places can never be had."""
    if isinstance(places, tuple):
        yield from filter(None, map(network.why_not, places))
        if len(places) > network.MOST_PLACES:
            yield f"has {len(places)} places, and at most {network.MOST_PLACES} can be had: leave some out"


def _no_network(asked: Asked, found: Found) -> str:
    what = "false" if asked.network is False else "of some places only"
    why = _why_not(asked, _network_bounds(asked), found)
    if asked.loopback:
        why = f"a command asks for its events over the loopback interface, which only a box has for itself; {why}"
    return f"{what} cannot be had: {why}; or write network = true"


def _bounds_processes(has: frozenset[Mechanism]) -> bool:
    """Whether processes can be counted: by a cgroup, in a box, or by a user that no other function has."""
    return bool(has & {Mechanism.PROCESS_CGROUP, Mechanism.USER_NAMESPACE, Mechanism.USER_PER_FUNCTION})


def _why_not(asked: Asked, needs: Set[Mechanism], found: Found) -> str:
    """Return why a function has none of these mechanisms."""
    if asked.level is not None and not needs & set(mechanisms_of(asked.level)):
        return f'the function has isolation = "{asked.level}"'
    return "; ".join(_causes(needs, found) or _causes(BOX | REQUIRED[Level.FILTERS], found))


def _causes(needs: Set[Mechanism], found: Found) -> list[str]:
    """Return why the missing ones of these are missing, each cause once, those of higher levels first."""
    missing = [one for one in mechanisms_of(Level.NAMESPACES) if one in needs and one in found.missing]
    return list(dict.fromkeys(str(found.missing[one]) for one in missing))
