"""What a function asks of its isolation: the keys, how they are written, and what is wrong with mounts.

What the machine has of it is decided later, by `sandbox.levels`: a configuration is right or wrong everywhere.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import ClassVar, Literal

from msgspec import Struct

from forklight.config.document import Node
from forklight.config.hint import near_file
from forklight.config.problem import Problem
from sandbox.containment import Endpoint, Level, Mount
from sandbox.levels import Asked

_MODES = {"ro": False, "rw": True}
_MOST_PORT = 65535
_CLOSED = tuple(map(Path, ("/proc", "/dev", "/sys")))
"""The kernel's: nothing may be mounted in these."""
_SYSTEM = tuple(map(Path, ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64")))
"""Read-only in every box: what is mounted in these has to lie where it is."""
_NEVER = (*_CLOSED, *_SYSTEM, Path("/etc"), Path("/tmp"))  # noqa: S108  named, not used
"""What every box has of its own, and nothing may be mounted on."""


class MountText(str):
    """`SOURCE`, `SOURCE:rw`, `SOURCE:TARGET` or `SOURCE:TARGET:rw`; read-only unless it says `rw`."""

    __slots__ = ()
    example: ClassVar[str] = "/srv/data:rw"

    @classmethod
    def parse(cls, text: str) -> "MountText":
        """Raises ValueError."""
        found = cls(text)
        parts = found._parts()
        if not 1 <= len(parts) <= 2 or "" in parts:
            raise ValueError(
                'is not a mount: write "/srv/data", "/srv/data:rw" if functions write there, or "/srv/a:/data:rw" if '
                "they see it in another place"
            )
        for path in parts:
            if not path.startswith("/"):
                mode = f'; for a mode, write ":{path.lower()}"' if path.lower() in _MODES else ""
                raise ValueError(f"has a relative path: write an absolute one instead of {path!r}{mode}")
            if ".." in Path(path).parts:
                raise ValueError(f"has .. in its path: write the path that {path} leads to")
        return found

    @property
    def mount(self) -> Mount:
        """What it asks for."""
        parts = self._parts()
        return Mount(Path(parts[0]), Path(parts[-1]), writable=self.endswith(":rw"))

    def _parts(self) -> list[str]:
        head, colon, mode = self.rpartition(":")
        return (head if colon and mode in _MODES else str(self)).split(":")


class Place(str):
    """`HOST:PORT` of the network: a name, an IPv4 address, or an IPv6 address in brackets."""

    __slots__ = ()
    example: ClassVar[str] = "db.example.com:5432"

    @classmethod
    def parse(cls, text: str) -> "Place":
        """Raises ValueError."""
        host, colon, port = text.rpartition(":")
        if not colon or not host or "/" in text or (":" in host and not (host[0] == "[" and host[-1] == "]")):
            raise ValueError(f'is not a place: write a host and a port, such as "{cls.example}" or "[::1]:5432"')
        if not (port.isascii() and port.isdecimal() and 1 <= int(port) <= _MOST_PORT):
            raise ValueError(f'has no port from 1 to {_MOST_PORT} at its end: write it as in "{cls.example}"')
        return cls(text)

    @property
    def endpoint(self) -> Endpoint:
        """What it names."""
        host, _, port = self.rpartition(":")
        return Endpoint(host.strip("[]").lower(), int(port))


class IsolationSettings(Struct, frozen=True, kw_only=True):
    """What a function may see and use of the machine: [security.md](security.md)."""

    isolation: Literal["best", "namespaces", "filters", "limits"] = "best"
    """How far it is kept apart: what the machine has (`best`), or a level that it must have."""
    network: bool | tuple[Place, ...] = True
    """What it reaches: all, nothing, or a list of places such as `["db.example.com:5432"]`."""
    mounts: tuple[MountText, ...] = ()
    """Files and folders that it sees besides its code and libraries: `"/srv/data"`, `"/srv/spool:rw"` to write there,
    `"/srv/a:/data"` for another place."""
    scratch_bytes: int | None = None
    """For its files in `/tmp`, and again for those in `/dev/shm`. Default: `"64MiB"` in a box, else no limit."""
    max_processes: int | None = None
    """Processes and threads of all its instances together. Default: 1024 where that can be counted."""
    cpu: float | None = None
    """Processors that all its instances may use together, such as `0.5`. Default: no limit."""

    @property
    def asked(self) -> Asked:
        """What it asks for, as `sandbox.levels` takes it."""
        return Asked(
            level=None if self.isolation == "best" else Level(self.isolation),
            network=self.network if isinstance(self.network, bool) else tuple(one.endpoint for one in self.network),
            mounts=tuple(one.mount for one in self.mounts),
            scratch_bytes=self.scratch_bytes,
            max_processes=self.max_processes,
            cpu=self.cpu,
        )


def mount_problems(settings: IsolationSettings, node: Node, state: Path, own: Iterable[Path]) -> Iterator[Problem]:
    """Yield what is wrong with the mounts of a function. Blocks: looks whether they exist.

    `node` is the place of the function, `state` the state directory, and `own` are the folders of its interpreter.
    """
    listed = node.at("mounts")
    mounts = [one.mount for one in settings.mounts]
    for index, mount in enumerate(mounts):
        written = [child for child in listed.value if child.value == settings.mounts[index]]
        if wrong := _wrong(mount, state, (*own, state)) or _clash(mount, mounts[:index] + mounts[index + 1 :]):
            yield (written or [listed])[0].problem(wrong)


def _wrong(mount: Mount, state: Path, own: tuple[Path, ...]) -> str:
    """Return what is wrong with one mount, whatever the others are, or nothing."""
    source, target = mount.source, mount.target
    if not os.path.exists(source):
        return f"{source} does not exist{near_file(source) or ': create it'}"
    if state.is_relative_to(source) or state.is_relative_to(source.resolve()):
        return f"{source} holds the state directory {state}: mount a folder that does not, or move it with --state"
    if source.resolve().is_relative_to(state):
        return f"{source} lies in the state directory {state}: functions keep files there with data = true"
    if any(source.resolve().is_relative_to(place) for place in _CLOSED):
        return f"{source} belongs to the kernel, of which a box has its own: a function that needs it has no box"
    is_same = source == target and not mount.writable
    hidden = next((place for place in (*_NEVER, *(() if is_same else own)) if place.is_relative_to(target)), None)
    if hidden is not None:
        return f"would hide {hidden}: mount it at a place of its own, such as {source}:/mnt/{source.name or 'data'}"
    around = next((place for place in (*_CLOSED, *_SYSTEM, *own) if target.is_relative_to(place)), None)
    if around is not None and (source != target or around in _CLOSED):
        return f"{target} lies in {around}, which a box has of its own: mount it in another place, such as /mnt/data"
    return ""


def _clash(mount: Mount, others: list[Mount]) -> str:
    """Return why a mount does not go together with another one of the function, or nothing."""
    source, target = mount.source, mount.target
    for other in others:
        if target == other.target:
            return f"{target} is mounted twice: leave one of them out"
        if target.is_relative_to(other.target):
            within = other.source / target.relative_to(other.target)
            if not os.path.exists(within) or within.is_dir() != source.is_dir():
                kind = "folder" if source.is_dir() else "file"
                return f"{target} lies in the mount of {other.source}, where there is no {kind} {within}: make one"
    return ""
