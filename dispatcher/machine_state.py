"""What the budget of the machine says of itself. Apart from it, because commands read it that start no server."""

from msgspec import Struct


class MachineState(Struct, frozen=True, kw_only=True):
    """The budget now."""

    memory_bytes: int = 0
    """what all processes are charged together"""
    memory_limit_bytes: int | None = None
    instances: int = 0
    """until they are gone, with the starts in flight"""
    max_instances: int | None = None
    waiting: tuple[str, ...] = ()
    """functions that wait for room, in the order in which they get it"""
    lack: str = ""
    """which limit they wait for: `memory` or `max_instances`; empty if only for other starts"""
    spares_held: bool = False
    """whether functions have no spares, because memory is short"""
    loads_held: bool = False
    """whether templates that no event needs now are not loaded, because memory is short"""
    pressure: float | None = None
    """`some avg10` of the machine's memory pressure, in per cent; None where the kernel reports none"""
    evictions: dict[str, int] = {}
    """instances ended for others so far: `idle` or `busy` ones"""
