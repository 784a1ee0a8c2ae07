"""What the server makes for an instance before its template forks it: descriptors in pairs, and a private folder."""

import contextlib
from pathlib import Path
from socket import SOCK_STREAM

from msgspec import Struct

from sandbox.channels import Channels
from sandbox.commons import Commons
from sandbox.errors import StartFailed
from sandbox.spec import FunctionSpec

MOST_FOLDERS = 8
"""How many to keep for instances to come."""


class Kit(Struct, frozen=True):
    """What one new instance needs."""

    n: int
    identity: str
    channels: Channels
    folder: Path
    private: dict[str, str]
    """The variables that differ between instances, unless the configuration sets them."""


class Kits:
    """The kits of one template. The next one is made while no event waits for it: when an instance has gone.

    Its folder goes to another instance of the same function, if it is as it was. To remove one and make one takes a
    journaling file system up to 20 ms each while another process syncs a file, and most instances leave theirs empty.
    """

    def __init__(self, spec: FunctionSpec, commons: Commons) -> None:
        self._function = spec.name
        self._commons = commons
        configured = {*spec.env, *spec.secrets}
        self._names = [name for name in ("HOME", "TMPDIR") if name not in configured]
        self._next: Kit | None = None
        self._folders: list[Path] = []

    def take(self) -> Kit:
        """The kit that lies ready, or a new one. Raises StartFailed."""
        kit, self._next = self._next or self._make(), None
        return kit

    def prepare(self) -> None:
        """Have one ready."""
        if self._next is None:
            with contextlib.suppress(StartFailed):  # `take` tries again, and raises
                self._next = self._make()

    def put_back(self, folder: Path) -> None:
        """An instance is dead and does not need its folder any more."""
        if len(self._folders) < MOST_FOLDERS and self._commons.is_untouched(folder):
            self._folders.append(folder)
        else:
            self._commons.remove_folder(folder)

    def drop(self) -> None:
        """Close and remove what lies ready."""
        for folder in self._folders:
            self._commons.remove_folder(folder)
        self._folders.clear()
        if self._next is not None:
            self._next.channels.discard()
            self._commons.remove_folder(self._next.folder)
            self._next = None

    def _make(self) -> Kit:
        n = self._commons.number()
        identity = f"{self._function}-{n}"
        left = self._folders[-1] if self._folders else None
        channels, folder = self._commons.equip(SOCK_STREAM, identity, left)
        del self._folders[-1:]
        return Kit(n, identity, channels, folder, dict.fromkeys(self._names, str(folder)))
