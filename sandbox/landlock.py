"""Which files a function may use outside of a box, whom it may signal, and where it may connect: for Landlock. Pure.

Theory of operation. A process that restricts itself by Landlock (landlock(7)), and all its descendants, may use files
only where a rule grants the right: for a folder, with everything that is ever in it. The user's own permissions still
count, so a rule opens nothing. Landlock does not ask when a program looks whether a file exists, changes its mode or
owner, or connects to a socket that has a name in a folder; ARCHITECTURE.md §9 says what follows.

A function reads and executes its code, the interpreter with its libraries, and the system's; it also writes to its
private folders, /dev/shm and what is mounted for it. In a box files need no rules: nothing else is there. A function
that names places on the network connects to their ports, and Landlock cannot tell of which machine; in a box with a
network of its own, it reaches the places themselves (`network.py`).

A rule is bound to what lies at a path when the template starts. A file that is replaced by another of the same name
(rename) is one that no rule names, so folders are named wherever they hold nothing that must not be read.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from msgspec import Struct

from sandbox.containment import Containment, Level, Mechanism
from sandbox.network import has_doors
from sandbox.system_files import DEVICES, ETC, PROCESSORS, PROGRAMS

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_MAKE_CHAR, _MAKE_BLOCK = 1 << 6, 1 << 11
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_FIRST_ABI = _REFER - 1
_LATER = {2: _REFER, 3: _TRUNCATE, 5: _IOCTL_DEV}
"""LANDLOCK_ACCESS_FS_* of linux/landlock.h, and the version of the interface that brought the later ones."""
TRUNCATES = 3
"""The version from which on truncate(2) needs a right."""
_SCOPES = 1 << 0 | 1 << 1
"""Only processes with the same restriction may be signalled (LANDLOCK_SCOPE_SIGNAL), or reached by a socket whose name
lies in no folder (LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET). From version 6 on."""

_READ = _EXECUTE | _READ_FILE | _READ_DIR
_LOOK = _READ_FILE | _READ_DIR
_USE_DEVICE = _READ_FILE | _WRITE_FILE | _TRUNCATE | _IOCTL_DEV

_KERNEL = ("/proc", PROCESSORS, "/sys/fs/cgroup", "/sys/kernel/mm")
"""Of other processes, /proc shows only what everybody may know: the rest is closed by the restriction itself."""
_SHARED_MEMORY = "/dev/shm"  # noqa: S108


class Ruleset(Struct, frozen=True):
    """A restriction in the terms of the kernel. What `files` names needs a right of `paths`."""

    files: int
    scopes: int
    paths: tuple[tuple[str, int], ...] = ()
    """A path that does not exist grants nothing. Rights that make sense for folders only are ignored for a file."""
    ports: tuple[int, ...] | None = None
    """Connections by TCP go to these ports only; None: to any. UDP and unix sockets are not looked at."""


def ruleset(containment: Containment, abi: int, readable: Iterable[Path], private: Path) -> Ruleset | None:
    """The restriction of a function on a kernel with this version of Landlock; None if there is none.

    `readable`: its code, the guest, the interpreter and the libraries; `private`: where its private folders lie.
    """
    scopes = 0 if Mechanism.SIGNAL_SCOPE in containment.without else _SCOPES
    ports = _ports(containment)
    if containment.level is Level.NAMESPACES or Mechanism.FILE_RULES in containment.without:
        return Ruleset(0, scopes, ports=ports) if scopes or ports is not None else None
    known = _known(abi)
    rules = (*_system(), *((str(path), _READ) for path in readable), *_own(containment, private))
    return Ruleset(known, scopes, tuple((path, rights & known) for path, rights in rules), ports)


def _ports(containment: Containment) -> tuple[int, ...] | None:
    """To which ports of any machine a function may connect that has no network of its own; None: to all."""
    if isinstance(containment.network, bool) or has_doors(containment):
        return None
    return tuple(sorted({place.port for place in containment.network}))


def _known(abi: int) -> int:
    """The rights that the kernel knows."""
    return _FIRST_ABI | sum(right for version, right in _LATER.items() if abi >= version)


def _system() -> Iterator[tuple[str, int]]:
    yield from ((path, _READ) for path in PROGRAMS)
    yield from ((f"/etc/{name}", _READ) for name in ETC)
    yield from ((path, _LOOK) for path in _KERNEL)
    yield from ((f"/dev/{name}", _USE_DEVICE) for name in DEVICES)


def _own(containment: Containment, private: Path) -> Iterator[tuple[str, int]]:
    everything = _known(max(_LATER)) & ~(_MAKE_CHAR | _MAKE_BLOCK)
    yield from ((str(path), everything) for path in (private, _SHARED_MEMORY))
    for mount in containment.mounts:
        yield str(mount.source), everything if mount.writable else _READ
