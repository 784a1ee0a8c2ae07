"""What contains the processes of one function: the mechanisms that were asked for and that the machine has.

A level is a set of mechanisms, and includes those of the level below. What the machine has is found out once, when the
server starts (`isolation.py`); what a function gets of it is decided in `levels.py`.
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


class Mechanism(StrEnum):
    """One thing that contains a function, by the name that users see."""

    USER_NAMESPACE = "user namespace"
    MOUNT_NAMESPACE = "mount namespace"
    PROCESS_NAMESPACE = "process namespace"
    IPC_NAMESPACE = "ipc namespace"
    HOST_NAME_NAMESPACE = "host name namespace"
    NETWORK_NAMESPACE = "network namespace"
    SYSTEM_CALL_FILTER = "system call filter"
    FILE_RULES = "file rules"
    TCP_RULES = "tcp rules"
    SIGNAL_SCOPE = "signal scope"
    NO_CAPABILITIES = "no capabilities"
    MEMORY_CGROUP = "memory cgroup"
    PROCESS_CGROUP = "process cgroup"
    CPU_CGROUP = "cpu cgroup"
    USER_APART = "user apart from the server"
    USER_PER_FUNCTION = "user per function"
    NO_NEW_PRIVILEGES = "no new privileges"
    NO_INSPECTION = "no inspection"
    SESSION = "session of its own"
    RESOURCE_LIMITS = "resource limits"
    WATCHED_MEMORY = "watched memory"
    CLEAN_ENVIRONMENT = "clean environment"
    CLOSED_DESCRIPTORS = "closed descriptors"


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
    without: frozenset[Mechanism] = frozenset()
    """the mechanisms of its level that this machine does not have"""
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
