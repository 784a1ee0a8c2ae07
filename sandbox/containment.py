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
    """It has no rights over anything outside of its box. Needs: bubblewrap, and that ordinary users may make one"""
    MOUNT_NAMESPACE = "mount namespace"
    """It sees the system, its interpreter, its code and its mounts, read-only, and an empty `/tmp`. Needs: the same"""
    PROCESS_NAMESPACE = "process namespace"
    """Each instance sees only what it has started, and what it has started dies with it. Needs: all of `/proc`"""
    IPC_NAMESPACE = "ipc namespace"
    """It has System V and POSIX message queues and shared memory of its own. Needs: the same as a user namespace"""
    HOST_NAME_NAMESPACE = "host name namespace"
    """It has a host name of its own. Needs: the same as a user namespace"""
    NETWORK_NAMESPACE = "network namespace"
    """Unless `network = true`, it has its own, and reaches its places only. Needs: the same as a user namespace"""
    SYSTEM_CALL_FILTER = "system call filter"
    """It cannot ask the kernel for what functions have no use for. Needs: seccomp, on x86-64 or ARM64"""
    FILE_RULES = "file rules"
    """Outside of a box, it opens only what a box would show. Needs: Landlock, from Linux 5.13"""
    TCP_RULES = "tcp rules"
    """Outside of a box, it connects only to the ports of its `network`. Needs: Landlock, from Linux 6.7"""
    SIGNAL_SCOPE = "signal scope"
    """It signals only its own processes, and reaches no abstract sockets of others. Needs: Landlock, from Linux 6.12"""
    NO_CAPABILITIES = "no capabilities"
    """It has no privilege of root. Needs: nothing"""
    MEMORY_CGROUP = "memory cgroup"
    """The kernel counts all its memory, and ends it before others notice. Needs: control groups: root, or a unit with
    `Delegate=yes`"""
    PROCESS_CGROUP = "process cgroup"
    """All its instances have at most `max_processes`. Needs: control groups"""
    CPU_CGROUP = "cpu cgroup"
    """All its instances use at most `cpu` processors. Needs: control groups"""
    USER_APART = "user apart from the server"
    """It can neither signal the server nor read its files. Needs: a server that is started as root"""
    USER_PER_FUNCTION = "user per function"
    """It can neither signal other functions nor read their files. Needs: root, and `[machine] uids`"""
    NO_NEW_PRIVILEGES = "no new privileges"
    """No setuid program gives it privileges. Needs: nothing"""
    NO_INSPECTION = "no inspection"
    """Its memory and environment cannot be read by its own user either, nor can the server's. Needs: nothing"""
    SESSION = "session of its own"
    """What it starts is killed with it, and it has no terminal. Needs: nothing"""
    RESOURCE_LIMITS = "resource limits"
    """Open files, the size of a file, data and core dumps have limits. Needs: nothing"""
    WATCHED_MEMORY = "watched memory"
    """The server looks at its memory, and kills what has more than `memory`. Needs: nothing"""
    CLEAN_ENVIRONMENT = "clean environment"
    """It gets nothing of the server's environment, and only its own secrets. Needs: nothing"""
    CLOSED_DESCRIPTORS = "closed descriptors"
    """It inherits no open file or socket. Needs: nothing"""


class Mount(Struct, frozen=True):
    """A file or folder of the host that a function sees."""

    source: Path
    target: Path
    writable: bool = False
    inode: tuple[int, int] = (0, 0)
    """The device and the number of what lies at `source`. A template sees only what lay there when it started, so one
    that is to see another folder at the same path is another template."""


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
