"""What the server makes for an instance before its template forks it: descriptors in pairs, and a private folder."""

import asyncio
import contextlib
from pathlib import Path
from socket import SOCK_STREAM

from msgspec import Struct

from sandbox.channels import Channels
from sandbox.commons import Commons
from sandbox.errors import StartFailed
from sandbox.quarters import Quarters
from sandbox.rehearsal import Scope
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
    guest_makes_folder: bool

    def request(self, report: Scope | None, *, ahead: bool, calls: int | None) -> dict[str, object]:
        """The request for the instance. `report`: which of the modules that its first call imports it is to name."""
        asked: dict[str, object] = {"n": self.n, "env": self.private}
        if report is not None:
            asked["report"] = report
        if ahead:
            asked["warm"] = True
        if self.guest_makes_folder:
            asked["folder"] = str(self.folder)
        return asked if calls is None else asked | {"calls": calls}


class Kits:
    """The kits of one template. The next one is made while no event waits for it: after an instance has gone.

    The folder of an instance goes to another one of the same function, if it is as it was: most instances leave theirs
    empty. No folder is made or removed in the event loop.
    """

    def __init__(self, spec: FunctionSpec, commons: Commons, quarters: Quarters) -> None:
        self._function = spec.name
        self._commons = commons
        self._quarters = quarters
        configured = {*spec.env, *spec.secrets}
        self._names = [name for name in ("HOME", "TMPDIR") if name not in configured]
        self._next: Kit | None = None
        self._folders: list[Path] = []
        self._awaited = 0
        """Folders that are being made in place of others."""
        self._is_dropped = False

    async def take(self) -> Kit:
        """The kit that lies ready, or a new one. Raises StartFailed."""
        kit, self._next = self._next, None
        if kit is not None:
            return kit
        n = self._commons.number()
        identity = f"{self._function}-{n}"
        folder = self._folders.pop() if self._folders else await self._quarters.new_folder()
        return self._make(n, identity, folder)

    def put_back(self, folder: Path) -> None:
        """An instance is dead and does not need its folder any more: it is for the next one."""
        if len(self._folders) + self._awaited >= MOST_FOLDERS:
            self._quarters.remove_folder(folder)
        elif self._quarters.is_untouched(folder):
            self._folders.append(folder)
        else:
            self._awaited += 1
            self._quarters.renew_folder(folder, self._renewed)
        asyncio.get_running_loop().call_soon(self._prepare)  # a turn of its own: it takes as long as a burial

    def _renewed(self, folder: Path | OSError) -> None:
        self._awaited -= 1
        if isinstance(folder, OSError):  # `take` tries again, and raises
            return
        if self._is_dropped:
            self._quarters.remove_folder(folder)
            return
        self._folders.append(folder)
        self._prepare()

    def _prepare(self) -> None:
        """Have a kit ready, if there is a folder for it."""
        if self._next is None and self._folders and not self._is_dropped:
            n = self._commons.number()
            with contextlib.suppress(StartFailed):  # `take` tries again, and raises
                self._next = self._make(n, f"{self._function}-{n}", self._folders.pop())

    def drop(self) -> None:
        """Close and remove what lies ready. Nothing is kept from now on."""
        self._is_dropped = True
        for folder in self._folders:
            self._quarters.remove_folder(folder)
        self._folders.clear()
        if self._next is not None:
            self._next.channels.discard()
            self._quarters.remove_folder(self._next.folder)
            self._next = None

    def _make(self, n: int, identity: str, folder: Path) -> Kit:
        try:
            channels = self._commons.equip(SOCK_STREAM)
        except StartFailed:
            self._quarters.remove_folder(folder)
            raise
        private = dict.fromkeys(self._names, str(folder))
        return Kit(n, identity, channels, folder, private, self._quarters.guest_makes_folders)
