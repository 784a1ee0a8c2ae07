"""`dev`: files are watched, and what is saved is reloaded.

Watched are the folders that snapshots are taken of, and of the folders of the configuration, env files, secrets and
requirements these files alone. Which folders there are is asked again after each change: a new one is watched, and as
something may have been saved in it before that, whenever other folders are watched there is a reload.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from pathlib import Path

import anyio.to_thread
from msgspec import Struct
from watchfiles import Change, DefaultFilter, awatch
from watchfiles.main import FileChange

from forklight.code import files
from forklight.config.configuration import Config
from forklight.config.requirements import RequirementsError, read_requirements
from forklight.serving.reload import Reloader

SETTLE_MS = 15
"""How long nothing more may change before what did is reloaded: an editor writes one file in several steps."""
LONGEST_MS = 200
"""How long that may put a reload off."""
FIRST_LOOK_MS = 500
"""A reload comes this long after other folders are watched, unless a change of any file brings it earlier."""

_of_editors = DefaultFilter(ignore_dirs=())
"""False for the temporary files of editors."""


class Watched(Struct, frozen=True):
    """All of these folders, not of what is in their folders, and these files wherever they are; but not `apart`."""

    folders: frozenset[Path]
    files: frozenset[Path]
    apart: frozenset[Path] = frozenset()

    @property
    def places(self) -> list[Path]:
        """The folders to watch."""
        return sorted(folder for folder in {*self.folders, *(file.parent for file in self.files)} if folder.is_dir())

    def concerns(self, change: Change, path: str) -> bool:
        """Whether a change of this file may change what is served."""
        file = Path(path)
        if file in self.apart:
            return False
        return file in self.files or (file.parent in self.folders and _of_editors(change, path))


def watched(config: Config, state: Path) -> Watched:
    """What to watch. Blocks."""
    apart = config.no_code | {state}
    folders = [files.folders(function.code, apart) for function in config.functions.values()]
    single = config.no_code | {config.path} | _requirements(config)
    return Watched(frozenset().union(*folders), single, files.own_logs())


def _requirements(config: Config) -> set[Path]:
    """The files of which environments are made: after a change of one, a reload says what to install."""
    found = set()
    for environment in config.environments.values():
        with suppress(RequirementsError):  # it is the reload's to tell
            names = read_requirements(environment.requirements)
            found |= {(environment.requirements.parent / name).resolve() for name in names}
    return found


async def keep_reloading(reloader: Reloader, state: Path) -> None:
    """Say what does not load now, then reload at each change, until cancelled."""
    await reloader.probe()
    while True:
        now = await anyio.to_thread.run_sync(watched, reloader.running.config, state)
        changes = awatch(
            *now.places,
            watch_filter=None,  # it would drop batches that concern nothing, and with them the first look
            step=SETTLE_MS,
            debounce=LONGEST_MS,
            rust_timeout=FIRST_LOOK_MS,
            yield_on_timeout=True,
            recursive=False,
        )
        with suppress(FileNotFoundError):  # a folder that has vanished meanwhile
            await _reload_until_moved(reloader, state, now, changes)


async def _reload_until_moved(
    reloader: Reloader, state: Path, now: Watched, changes: AsyncGenerator[set[FileChange], None]
) -> None:
    """Reload at the first of `changes`, whatever it tells of, and then at those that concern `now`, until other folders
    are to be watched.

    The first reload finds what was saved before the watch began. It must not wait for a quiet moment: there is none
    while the server's own log grows in a watched folder.
    """
    async with aclosing(changes):
        is_first = True
        async for changed in changes:
            if not (is_first or any(now.concerns(*change) for change in changed)):
                continue
            is_first = False
            await reloader.reload()
            if await anyio.to_thread.run_sync(watched, reloader.running.config, state) != now:
                return
