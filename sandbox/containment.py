"""What contains the processes of one function: the mechanisms that were asked for and that the machine has.

A level is a set of mechanisms, each of which includes those of the level below. Which of them the machine has is found
out once, when the server starts.
"""

from enum import StrEnum
from pathlib import Path

from msgspec import Struct

MIB = 1024 * 1024


class Level(StrEnum):
    """How far the processes of a function are kept apart from everything else, lowest first."""

    LIMITS = "limits"
    """resource limits, a session of its own, a scrubbed environment; any Linux"""
    FILTERS = "filters"
    """and no system call or file that a function has no use for: seccomp, Landlock; from Linux 5.13"""
    NAMESPACES = "namespaces"
    """and a box: a root, processes and a network of its own; needs bubblewrap and user namespaces"""


class Mount(Struct, frozen=True):
    """A file or folder of the host that a function sees."""

    source: Path
    target: Path
    writable: bool = False


class Endpoint(Struct, frozen=True):
    """A place on the network: a host name or an address, and a TCP port."""

    host: str
    port: int


class Containment(Struct, frozen=True, kw_only=True):
    """What is in force for one function. The defaults are level `limits`."""

    level: Level = Level.LIMITS
    mounts: tuple[Mount, ...] = ()
    """besides the interpreter, its libraries and the function's code"""
    network: bool | tuple[Endpoint, ...] = True
    """all, none, or only these"""
    scratch_bytes: int = 64 * MIB
    """for all files in /tmp together, and again for those in /dev/shm"""
    max_processes: int = 1024
    """of all instances together, threads included"""
    cpu: float | None = None
    """processors that all instances may use together; None is no limit"""
    uid: int | None = None
    """the function's own user; None is that of all functions"""
