"""`[machine]`: the user that functions run as, and what all of them may hold together; what does not fit into that."""

from collections.abc import Iterator, Mapping
from typing import ClassVar

from msgspec import Struct

from dispatcher.budget import LEAST_BYTES
from dispatcher.settings import PoolSettings
from forklight.config.document import Node
from forklight.config.problem import Problem
from forklight.config.uids import UidRange
from forklight.config.units import SIZE_FORM, parse_size
from forklight.state.users import User, unprivileged_user
from sandbox.spec import Limits

LEAST_MEMORY_BYTES = 32 * 1024 * 1024
"""Less has no room for an interpreter, a template and an instance."""
_MOST_NAMES = 5


class MachineMemory(str):
    """A size, or a part of the machine's memory in per cent."""

    __slots__ = ()
    example: ClassVar[str] = "2GiB"

    @classmethod
    def parse(cls, text: str) -> "MachineMemory":
        """Raises ValueError."""
        if text.endswith("%"):
            if not (text[:-1].isdecimal() and 1 <= int(text[:-1]) <= 100):
                raise ValueError(
                    'is not a part of the memory: write 1% to 100%, such as "80%", or a size such as "2GiB"'
                )
            return cls(text)
        try:
            size_bytes = parse_size(text)
        except ValueError:
            raise ValueError(f'is neither a size nor a percentage: {SIZE_FORM}; or a part, such as "80%"') from None
        if size_bytes < LEAST_MEMORY_BYTES:
            raise ValueError("is less than 32MiB, which one interpreter and one instance may need")
        return cls(text)

    def size_bytes(self, all_bytes: int) -> int:
        """Return the size, given all the memory that there is."""
        return all_bytes * int(self[:-1]) // 100 if self.endswith("%") else parse_size(self)


class MachineSettings(Struct, frozen=True, kw_only=True):
    """`[machine]`."""

    user: str | None = None
    """The user that functions run as if the server is started as root. Default: `forklight`, else `nobody`."""
    uids: UidRange | None = None
    """If the server is started as root: numbers of which each function gets one, as a user and group of its own, such
    as `"200000-200999"`. Those with `data = true` share `user`. Default: all functions share `user`."""
    memory: MachineMemory = MachineMemory("80%")
    """What the processes of all functions may hold together: a size such as `"2GiB"`, or a part of the memory of the
    machine or container."""
    max_instances: int | None = None
    """The most instances of all functions together. Default: no limit."""


def user_of(machine: MachineSettings, place: Node, problems: list[Problem]) -> User | None:
    """Return the user that functions run as; None is that of this process. Appends why there is no such one."""
    try:
        return unprivileged_user(machine.user, machine.uids.uids if machine.uids else None)
    except ValueError as error:
        problems.append(place.problem(str(error)))
        return None


class Needs(Struct, frozen=True):
    """What one function may need of the machine."""

    limits: Limits
    pool: PoolSettings

    @property
    def reserved(self) -> int:
        return min(self.pool.reserved, self.pool.max_instances)


def machine_problems(
    machine: MachineSettings, needs: Mapping[str, Needs], all_bytes: int, root: Node
) -> Iterator[Problem]:
    """Yield what can never fit into the budget, given all the memory that there is."""
    yield from _too_many(machine, needs, root.at("machine").at("max_instances"))
    memory_bytes = machine.memory.size_bytes(all_bytes)
    place = root.at("machine").at("memory")
    reserved = sum(one.reserved for one in needs.values())
    if reserved * LEAST_BYTES > memory_bytes:
        least_mib = LEAST_BYTES >> 20
        told = f"{reserved} instances are reserved, and each takes {least_mib} MiB at least"
        yield place.problem(f"is {memory_bytes >> 20} MiB here, but {told}: allow more, or reserve fewer")
    if place.key != "machine.memory":  # nobody has set a budget that a limit could contradict
        return
    for name, one in needs.items():
        node = root.at("functions").at(name)
        if "memory" in node.value and one.limits.memory_bytes > memory_bytes:
            all_have = f"all functions together have {memory_bytes >> 20} MiB ([machine] memory)"
            yield node.at("memory").problem(f"can never be had: {all_have}; lower this, or raise that")


def _too_many(machine: MachineSettings, needs: Mapping[str, Needs], place: Node) -> Iterator[Problem]:
    most = machine.max_instances
    reserved = sum(one.reserved for one in needs.values())
    if most is None or reserved < most:
        return
    if reserved > most:
        yield place.problem(f"is {most}, but {reserved} instances are reserved: allow more, or reserve fewer")
        return
    without = [name for name, one in needs.items() if not one.reserved]
    if without:
        more = f" and {len(without) - _MOST_NAMES} more" if len(without) > _MOST_NAMES else ""
        names = ", ".join(without[:_MOST_NAMES]) + more
        yield place.problem(f"is {most}, and all are reserved, which leaves none for {names}: allow more")
