"""Control groups (cgroups(7)): where the kernel lets this server make some, and the one that it makes for itself.

Theory of operation. Each template is put into a group of its own before it runs any of the function's code; all that it
forks is born there. The kernel then bounds the memory, the processes and the processor time of the whole function
(`group.py`). The groups of templates lie below one of the server, and that lies below the group that the server was
started in, so the limits of a container or a unit around it stay in force.

There are two kinds of hierarchy. Version 1 has one for each controller, and root can make groups in each. Version 2 has
one for all. There, a group that passes controllers on must not have processes itself, so the server first moves into a
leaf of its own group. It does so only where that group is its own: delegated to it (systemd's Delegate=yes) or with no
other process in it.

With their groups, functions share the processors by function, however many processes each has: all functions together
weigh as much as one process for each processor.

The server holds a lock (flock(2)) on its group. The kernel releases it with the process, however that ends, so the next
server recognizes what a killed one has left behind, and removes it.
"""

import contextlib
import errno
import fcntl
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args

from msgspec import Struct

from sandbox import hardware

Controller = Literal["memory", "pids", "cpu"]
CONTROLLERS: tuple[Controller, ...] = get_args(Controller)

PREFIX = "forklight-"
"""of the groups of servers; random digits follow"""
LEAF = "forklight"
"""In version 2, the group that the server itself moves into."""
_DELEGATED = ("user.delegate", "trusted.delegate")
"""The attributes by which systemd marks a group that it leaves to others (since 251 and 236)."""
_SYSTEMD = "/run/systemd/system"
_DELEGATE = "start it as a systemd unit with Delegate=yes, as `forklight systemd` writes it"
_AS_ROOT = "start it as root, or boot the machine with control groups of version 2 and " + _DELEGATE


class Lack(Struct, frozen=True):
    """Why a controller cannot be used here, and what would help."""

    why: str
    how: str

    def __str__(self) -> str:
        return f"{self.why}: {self.how}"


class Place(Struct, frozen=True):
    """A group in which the server can make groups."""

    folder: Path
    version: Literal[1, 2]


class Found(Struct, frozen=True):
    """Where groups can be made for each controller; `lacks` has the other controllers.

    `pressure`: where the groups of version 2 can be made, which tell how long their processes waited (PSI).
    """

    places: dict[Controller, Place] = {}
    lacks: dict[Controller, Lack] = {}
    pressure: Place | None = None


NOWHERE = Found()
"""Of whoever does not want groups."""


class Mounted(Struct, frozen=True):
    """A hierarchy that is mounted. `root` is the group that appears at `folder`, `own` that of this process."""

    folder: Path
    root: str
    own: str
    version: Literal[1, 2]
    controllers: frozenset[str] = frozenset()
    """of version 1"""

    @property
    def group(self) -> Path:
        """The folder of this process's own group; that of the root if it lies outside of what is mounted."""
        if self.own.startswith("/../"):
            return self.folder
        below = os.path.relpath(self.own, self.root)
        return self.folder if below.startswith("..") else self.folder / below


def find() -> Found:
    """Look for the places where this process can make groups. Leaves nothing behind, and takes about a millisecond."""
    try:
        hierarchies = mounted(Path("/proc/self/mountinfo").read_text(), Path("/proc/self/cgroup").read_text())
    except OSError as error:
        return _nowhere(Lack(f"/proc cannot be read ({error.strerror})", "mount it"))
    if not hierarchies:
        return _nowhere(Lack("no control groups are mounted", "mount them at /sys/fs/cgroup"))
    unified = next((one for one in hierarchies if one.version == 2), None)
    base = None if unified is None else _base(unified.group)
    lack = None if base is None else _lack_v2(base)
    places: dict[Controller, Place] = {}
    lacks: dict[Controller, Lack] = {}
    for name in CONTROLLERS:
        place = _place(name, hierarchies, base, lack)
        if isinstance(place, Place):
            places[name] = place
        else:
            lacks[name] = place
    return Found(places, lacks, None if base is None or lack is not None else Place(base, 2))


def mounted(mountinfo: str, own: str) -> list[Mounted]:
    """The hierarchies of /proc/PID/mountinfo and /proc/PID/cgroup (proc(5), cgroups(7)), the first mount of each."""
    paths: dict[str, str] = {}
    for line in own.splitlines():
        _, controllers, path = line.split(":", 2)
        paths |= dict.fromkeys(controllers.split(","), path)  # of version 2, the name is empty
    found: dict[frozenset[str], Mounted] = {}
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        root, folder = (_unescaped(field) for field in before.split()[3:5])
        kind, _, options = after.split()[:3]
        names = frozenset({*options.split(",")} & {*CONTROLLERS} & {*paths})
        if kind == "cgroup2" and "" in paths:
            found.setdefault(frozenset(), Mounted(Path(folder), root, paths[""], 2))
        elif kind == "cgroup" and names:
            found.setdefault(names, Mounted(Path(folder), root, paths[min(names)], 1, names))
    return list(found.values())


def _unescaped(field: str) -> str:
    return field.encode().decode("unicode_escape") if "\\" in field else field


def _nowhere(lack: Lack) -> Found:
    return Found(lacks=dict.fromkeys(CONTROLLERS, lack))


def _place(name: Controller, hierarchies: list[Mounted], base: Path | None, lack: Lack | None) -> Place | Lack:
    """Where groups with this controller can be made. `base`, `lack`: the group of version 2, and why not there."""
    for one in hierarchies:
        if name in one.controllers:
            return _trial(one.group, _AS_ROOT) or Place(one.group, 1)
    if base is None:
        return Lack(f"the kernel has no control groups for {name}", "use a kernel that has them")
    if lack is not None:
        return lack
    if name not in _words(base / "cgroup.controllers"):
        return Lack(f"the control group {base} has no controller {name!r}", _DELEGATE)
    return Place(base, 2)


def _base(group: Path) -> Path:
    """The group of version 2 below which ours lie. A server that has moved into its leaf is one step below."""
    return group.parent if group.name == LEAF else group


def _lack_v2(base: Path) -> Lack | None:
    """Why the server may make no groups in this group of version 2, or None if it may."""
    if (lack := _trial(base, _DELEGATE)) is not None:
        return lack
    if not (base / "cgroup.type").exists():
        return None  # the root of the machine, which may have processes
    is_delegated = any(_attribute(base, name) for name in _DELEGATED)
    if not is_delegated and os.path.isdir(_SYSTEMD) and (os.geteuid() == 0 or "/user@" in str(base)):
        return Lack(f"systemd manages the control group {base} itself", _DELEGATE)
    others = set(_words(base / "cgroup.procs")) - {str(os.getpid())}
    if others:
        who = "process " + ", ".join(sorted(others, key=int)[:3])
        how = f"{_DELEGATE}, or as the only process of its container"
        return Lack(f"the control group {base} has other processes ({who})", how)
    return None


def _attribute(folder: Path, name: str) -> bool:
    try:
        return os.getxattr(folder, name) == b"1"
    except OSError:
        return False


def _trial(folder: Path, how: str) -> Lack | None:
    """Why no group can be made in this one, by making one; None if it can. `how`: what helps if it is not writable."""
    trial = folder / f"{PREFIX}trial-{secrets.token_hex(4)}"
    try:
        trial.mkdir()
        trial.rmdir()
    except OSError as error:
        if error.errno == errno.EROFS:
            return Lack(f"{folder} is read-only, as in most containers", "mount the control groups writable")
        if error.errno in (errno.EACCES, errno.EPERM):
            return Lack(f"the control group {folder} is not writable for this user", how)
        return Lack(f"no control group can be made in {folder} ({error.strerror})", how)
    return None


def _words(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except OSError:
        return []


class Groups:
    """The group of this server in each hierarchy. Its methods block for about a millisecond."""

    def __init__(self, found: Found) -> None:
        self.lacks = dict(found.lacks)
        """The controllers that cannot be used, and why."""
        self.folders: dict[Controller, Place] = {}
        """The group of this server for each controller that can."""
        self.pressure: Path | None = None
        self.name = PREFIX + secrets.token_hex(4)
        self._locks: dict[Path, int] = {}
        for place in {*found.places.values(), *([found.pressure] if found.pressure else [])}:
            names = [name for name, other in found.places.items() if other == place]
            try:
                self._make(place, names)
            except OSError as error:
                lack = Lack(f"no control group can be made in {place.folder} ({error.strerror})", _DELEGATE)
                self.lacks |= dict.fromkeys(names, lack)

    def _make(self, place: Place, names: list[Controller]) -> None:
        """Make this server's group with these controllers. Raises OSError."""
        remove_leftovers(place.folder)
        is_root = place.version == 1 or not (place.folder / "cgroup.type").exists()
        if not is_root:
            leaf = place.folder / LEAF
            leaf.mkdir(exist_ok=True)
            (leaf / "cgroup.procs").write_text(str(os.getpid()))
        if place.version == 2:
            _pass_on(place.folder, names)
        folder = self._locked(place.folder / self.name)
        if "cpu" in names:
            name, each = ("cpu.shares", 1024) if place.version == 1 else ("cpu.weight", 100)
            _write_if_there(folder / name, min(10_000, each * hardware.cores()))
        if place.version == 2:
            _pass_on(folder, names)
            self.pressure = folder if (folder / "memory.pressure").exists() else None
        self.folders |= dict.fromkeys(names, Place(folder, place.version))

    def _locked(self, folder: Path) -> Path:
        """Make the group and lock it. Another server may have taken it for a leftover before it was locked."""
        while True:
            folder.mkdir(exist_ok=True)
            fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(fd, fcntl.LOCK_EX)
            if folder.exists():
                self._locks[folder] = fd
                return folder
            os.close(fd)

    def close(self) -> None:
        """Remove the server's groups, and what is empty below them. Idempotent."""
        for folder, fd in self._locks.items():
            remove_empty(folder)
            os.close(fd)
        self._locks.clear()
        self.folders.clear()


def _write_if_there(file: Path, value: int) -> None:
    with contextlib.suppress(FileNotFoundError), file.open("r+") as opened:
        opened.write(str(value))


def _pass_on(folder: Path, names: list[Controller]) -> None:
    """Have the groups below one of version 2 get these controllers."""
    for name in names:
        (folder / "cgroup.subtree_control").write_text(f"+{name}")


def remove_leftovers(folder: Path) -> None:
    """Remove the groups of servers that have ended without doing so: nobody holds their locks."""
    for group in sorted(folder.glob(f"{PREFIX}*")):
        with contextlib.suppress(OSError), _unlocked(group):
            remove_empty(group)


@contextlib.contextmanager
def _unlocked(group: Path) -> Iterator[None]:
    """Hold the lock of a group that nobody holds. Raises BlockingIOError if somebody does."""
    fd = os.open(group, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(fd)


def remove_empty(group: Path) -> None:
    """Remove a group and those below it, as far as they have no processes."""
    with contextlib.suppress(OSError):
        for below in group.iterdir():
            if below.is_dir():
                remove_empty(below)
        group.rmdir()


@contextlib.contextmanager
def open_groups(found: Found) -> Iterator[Groups]:
    """Groups that are removed after the block."""
    groups = Groups(found)
    try:
        yield groups
    finally:
        groups.close()
