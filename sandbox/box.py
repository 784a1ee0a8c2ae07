"""What a box shows: the options of bubblewrap, from what contains a function and what its processes have to read.

A box has a root folder of its own, in which nothing exists but what is named here: the system's programs and
libraries, a few files of /etc, the interpreter, the guest and the function's code, all of them read-only; the mounts
of the function; and an empty /tmp and /dev/shm of limited size. Every path is the same inside as outside, also where
it leads through symbolic links.
"""

import os
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path

from msgspec import Struct

from sandbox import network
from sandbox.containment import Containment, Mechanism, Mount
from sandbox.errors import LoadFailed
from sandbox.system_files import DEVICES, ETC, PROCESSORS, PROGRAMS

_ETC = Path("/etc")
_MOST_LINKS = 40
"""As many as the kernel follows in one path."""
FIRST_FILE_FD = 3
"""The descriptors of bubblewrap from which it reads `files`, in their order, start here."""
KEEPER = ("/usr/bin/env", "--ignore-signal=CHLD", "/usr/bin/cat")
"""The first process of a box: it ends with its standard input, and the kernel reaps its orphans, because SIGCHLD is
ignored, which an exec keeps."""


class Box(Struct, frozen=True):
    """An open box, as a template enters it: the pidfd of its first process, and its namespaces as flags of setns(2)."""

    pidfd: int
    namespaces: int


def options(containment: Containment, needed: Iterable[Path], etc: Path | None = None) -> list[str]:
    """The arguments of bubblewrap for a box that shows `needed` and the function's mounts.

    `etc`: a folder with copies of the files of /etc (`etc_folder.py`). Without it, each is mounted.

    Raises LoadFailed if one of them does not exist.
    """
    is_cut_off = containment.network is not True and Mechanism.NETWORK_NAMESPACE not in containment.without
    own_network = ["--unshare-net"] if is_cut_off else []
    return [
        # By name: `--unshare-all` goes on without a user namespace where root may do without one.
        *("--unshare-user", "--unshare-ipc", "--unshare-pid", "--unshare-uts", "--unshare-cgroup-try", *own_network),
        *("--as-pid-1", "--cap-drop", "ALL", "--clearenv"),
        *_contents(containment, needed, etc),
        *("--remount-ro", "/", "--chdir", "/", "--", *KEEPER),
    ]


def files(containment: Containment) -> dict[str, bytes]:
    """The files of /etc that the box has of its own. bubblewrap reads each from a descriptor."""
    if not network.has_doors(containment) or isinstance(containment.network, bool):
        return {}
    return network.files(containment.network, socket.gethostname())


def _contents(containment: Containment, needed: Iterable[Path], etc: Path | None) -> list[str]:
    """The options for all that the box shows, each folder before what lies in it: bubblewrap goes by their order."""
    shown = _Shown(containment)
    paths = [_existing(path, "the function needs it") for path in needed]
    paths += [Path(path) for path in (*PROGRAMS, PROCESSORS) if os.path.exists(path)]
    if etc is None or _adds_to_etc(containment, paths):
        paths += [path for path in _of_etc() if os.path.exists(path)]
    else:
        shown.show_etc(etc)
    shown.show(paths)
    for fd, name in enumerate(files(containment), FIRST_FILE_FD):
        shown.give(Path("/etc", name), fd)
    for mount in containment.mounts:
        shown.mount(mount)
    return shown.in_order()


class _Shown:
    """What lies where in the box: for each path the option that puts it there."""

    def __init__(self, containment: Containment) -> None:
        scratch = ["--perms", "1777", "--size", str(containment.scratch_bytes), "--tmpfs"]
        devices = [f"/dev/{name}" for name in DEVICES]
        self._options: dict[Path, list[str]] = {
            Path("/proc"): ["--proc", "/proc"],
            Path("/tmp"): [*scratch, "/tmp"],  # noqa: S108  that of the box
            Path("/dev/shm"): [*scratch, "/dev/shm"],  # noqa: S108
            Path("/dev/fd"): ["--symlink", "/proc/self/fd", "/dev/fd"],
            Path("/var/tmp"): ["--symlink", "../tmp", "/var/tmp"],  # noqa: S108
            **{Path(device): ["--dev-bind", device, device] for device in devices},
        }
        for number, name in enumerate(("stdin", "stdout", "stderr")):
            self._options[Path("/dev", name)] = ["--symlink", f"/proc/self/fd/{number}", f"/dev/{name}"]
        self._same: set[Path] = set()
        """The folders and files that are as outside, with all that is in them."""

    def show(self, paths: Iterable[Path]) -> None:
        """Show these read-only, and the links that lead to them."""
        links: dict[Path, str] = {}
        places: set[Path] = set()
        for path in paths:
            found, place = _follow(path)
            links |= found
            places.add(place)
        for place in sorted(places, key=_depth):
            if not self._is_shown(place):
                self._options[place] = ["--ro-bind", str(place), str(place)]
                self._same.add(place)
        for link, target in links.items():
            if not self._is_shown(link):
                self._options[link] = ["--symlink", target, str(link)]

    def give(self, path: Path, fd: int) -> None:
        """Have a file there with what can be read from a descriptor."""
        self._options[path] = ["--ro-bind-data", str(fd), str(path)]

    def show_etc(self, copy: Path) -> None:
        """Show a copy of /etc, and in it the folders that are not copied."""
        self._options[_ETC] = ["--ro-bind", str(copy), str(_ETC)]
        for path in _of_etc():
            place = copy / path.relative_to(_ETC)
            if place.is_dir() and not place.is_symlink():
                self._options[path] = ["--ro-bind", str(path), str(path)]
                self._same.add(path)

    def mount(self, mount: Mount) -> None:
        """Show a file or folder where the function wants it."""
        source = _existing(mount.source, "mounts names it")
        self._options[mount.target] = ["--bind" if mount.writable else "--ro-bind", str(source), str(mount.target)]

    def in_order(self) -> list[str]:
        return [word for _, each in sorted(self._options.items(), key=lambda one: one[0].parts) for word in each]

    def _is_shown(self, path: Path) -> bool:
        """Whether the box has it already, because it has the innermost folder around it that was placed as outside."""
        placed = next((one for one in (path, *path.parents) if one in self._options), None)
        return placed is not None and placed in self._same


def _of_etc() -> Iterator[Path]:
    return (_ETC / name for name in ETC)


def _adds_to_etc(containment: Containment, needed: Iterable[Path]) -> bool:
    """Whether there is more to show in /etc than every function has."""
    ways = [way for path in needed for links, place in [_follow(path)] for way in (*links, place)]
    others = [way for way in ways if not any(way.is_relative_to(one) for one in _of_etc())]
    added = any(path.is_relative_to(_ETC) for path in (*others, *(mount.target for mount in containment.mounts)))
    return added or bool(files(containment))


def _depth(path: Path) -> int:
    return len(path.parts)


def _existing(path: Path, why: str) -> Path:
    try:
        path.stat()
    except OSError as error:
        raise LoadFailed("InitFailed", f"no box can be made: {path}: {error.strerror}, and {why}") from None
    return path


def _follow(path: Path) -> tuple[dict[Path, str], Path]:
    """The symbolic links on the way to `path`, each with the target that it names, and the place where they end."""
    links: dict[Path, str] = {}
    at, ahead = Path("/"), list(path.parts[1:])
    while ahead:
        name = ahead.pop(0)
        here = at.parent if name == ".." else at / name
        if here.is_symlink() and len(links) < _MOST_LINKS:
            links[here] = os.readlink(here)
            target = Path(links[here])
            at, ahead = (Path("/") if target.is_absolute() else at), [*_names(target), *ahead]
        else:
            at = here
    return links, at


def _names(path: Path) -> list[str]:
    return list(path.parts[1:] if path.is_absolute() else path.parts)
