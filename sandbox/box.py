"""What a box shows: the options of bubblewrap, from what contains a function and what its processes have to read.

A box has a root folder of its own, in which nothing exists but what is named here: the system's programs and
libraries, a few files of /etc, the interpreter, the guest and the function's code, all of them read-only; the mounts
of the function; and an empty /tmp and /dev/shm of limited size. Every path is the same inside as outside, also where
it leads through symbolic links.
"""

import os
import socket
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from msgspec import Struct

from sandbox import network
from sandbox.containment import Containment, Mechanism, Mount
from sandbox.errors import LoadFailed
from sandbox.system_files import DEVICES, ETC, PROCESSORS, PROGRAMS

_ETC = "/etc"
_OF_ETC = tuple(f"{_ETC}/{name}" for name in ETC)
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
    paths += [path for path in (*PROGRAMS, PROCESSORS) if os.path.exists(path)]
    ways = [_follow(path) for path in paths]
    if etc is None or _adds_to_etc(containment, ways):
        ways += [_follow(path) for path in _OF_ETC if os.path.exists(path)]
    else:
        shown.show_etc(str(etc))
    shown.show(ways)
    for fd, name in enumerate(files(containment), FIRST_FILE_FD):
        shown.give(f"{_ETC}/{name}", fd)
    for mount in containment.mounts:
        shown.mount(mount)
    return shown.in_order()


class _Way(NamedTuple):
    """How a path is found: the symbolic links on it, each with the target that it names, and where they end."""

    links: dict[str, str]
    place: str


class _Shown:
    """What lies where in the box: for each path the option that puts it there."""

    # Paths are strings, because pathlib would take as long for all of them as bubblewrap takes for the box.

    def __init__(self, containment: Containment) -> None:
        scratch = ["--perms", "1777", "--size", str(containment.scratch_bytes), "--tmpfs"]
        self._options: dict[str, list[str]] = {
            "/proc": ["--proc", "/proc"],
            "/tmp": [*scratch, "/tmp"],  # noqa: S108  that of the box
            "/dev/shm": [*scratch, "/dev/shm"],  # noqa: S108
            "/dev/fd": ["--symlink", "/proc/self/fd", "/dev/fd"],
            "/var/tmp": ["--symlink", "../tmp", "/var/tmp"],  # noqa: S108
        }
        for name in DEVICES:
            self._options[f"/dev/{name}"] = ["--dev-bind", f"/dev/{name}", f"/dev/{name}"]
        for number, name in enumerate(("stdin", "stdout", "stderr")):
            self._options[f"/dev/{name}"] = ["--symlink", f"/proc/self/fd/{number}", f"/dev/{name}"]
        self._same: set[str] = set()
        """The folders and files that are as outside, with all that is in them."""

    def show(self, ways: Iterable[_Way]) -> None:
        """Show what these lead to, read-only, and the links on them."""
        links: dict[str, str] = {}
        places: set[str] = set()
        for way in ways:
            links |= way.links
            places.add(way.place)
        for place in sorted(places, key=len):  # what lies in a folder is longer
            if not self._is_shown(place):
                self._show(place)
        for link, target in links.items():
            if not self._is_shown(link):
                self._options[link] = ["--symlink", target, link]

    def _show(self, place: str) -> None:
        self._options[place] = ["--ro-bind", place, place]
        self._same.add(place)

    def give(self, path: str, fd: int) -> None:
        """Have a file there with what can be read from a descriptor."""
        self._options[path] = ["--ro-bind-data", str(fd), path]

    def show_etc(self, copy: str) -> None:
        """Show a copy of /etc, and in it the folders that are not copied."""
        self._options[_ETC] = ["--ro-bind", copy, _ETC]
        for name, path in zip(ETC, _OF_ETC, strict=True):
            if stat.S_ISDIR(_mode(f"{copy}/{name}")):
                self._show(path)

    def mount(self, mount: Mount) -> None:
        """Show a file or folder where the function wants it."""
        source, target = _existing(mount.source, "mounts names it"), str(mount.target)
        self._options[target] = ["--bind" if mount.writable else "--ro-bind", source, target]

    def in_order(self) -> list[str]:
        return [word for _, each in sorted(self._options.items(), key=_names_of) for word in each]

    def _is_shown(self, path: str) -> bool:
        """Whether the box has it already, because it has the innermost folder around it that was placed as outside."""
        while path and path not in self._options:
            path = path.rpartition("/")[0]
        return path in self._same


def _adds_to_etc(containment: Containment, ways: Iterable[_Way]) -> bool:
    """Whether there is more to show in /etc than every function has."""
    inside = [path for way in ways for path in (*way.links, way.place) if _lies_in(path, _ETC)]
    if any(not any(_lies_in(path, listed) for listed in _OF_ETC) for path in inside):
        return True
    return bool(files(containment)) or any(_lies_in(str(mount.target), _ETC) for mount in containment.mounts)


def _lies_in(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder + "/")


def _names_of(option: tuple[str, list[str]]) -> list[str]:
    return option[0].split("/")


def _mode(path: str) -> int:
    """That of the file itself, not of what a link leads to; 0 if there is none."""
    try:
        return os.lstat(path).st_mode
    except OSError:
        return 0


def _existing(path: Path, why: str) -> str:
    try:
        os.stat(path)
    except OSError as error:
        raise LoadFailed("InitFailed", f"no box can be made: {path}: {error.strerror}, and {why}") from None
    return str(path)


def _follow(path: str) -> _Way:
    links: dict[str, str] = {}
    at, ahead = "", path.split("/")
    while ahead:
        name = ahead.pop(0)
        if name in ("", "."):
            continue
        here = at.rpartition("/")[0] if name == ".." else f"{at}/{name}"
        if name != ".." and len(links) < _MOST_LINKS and (target := _target(here)):
            links[here] = target
            at, ahead = ("" if target.startswith("/") else at), [*target.split("/"), *ahead]
        else:
            at = here
    return _Way(links, at or "/")


def _target(path: str) -> str:
    """What a symbolic link names; empty if it is none."""
    try:
        return os.readlink(path)
    except OSError:
        return ""
