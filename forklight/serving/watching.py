"""`dev`: watch files, and reload when one is saved.

It watches the folders of the code, and the single files of configuration, variables, secrets and requirements. After
each change it determines the folders again. When the set changes there is another reload, because a file may have been
saved in a new folder before it was watched.
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
"""A reload waits until nothing has changed for this long: editors write a file in several steps."""
LONGEST_MS = 200
"""The longest such wait."""
FIRST_LOOK_MS = 500
"""After the folders change, there is a reload after this time, or at the next change of any file."""

_of_editors = DefaultFilter(ignore_dirs=())
"""Returns False for temporary files of editors."""


class Watched(Struct, frozen=True):
    """What to watch: everything directly in `folders`, and `files`, but not `apart`."""

    folders: frozenset[Path]
    files: frozenset[Path]
    apart: frozenset[Path] = frozenset()

    @property
    def places(self) -> list[Path]:
        """The folders to watch."""
        return sorted(folder for folder in {*self.folders, *(file.parent for file in self.files)} if folder.is_dir())

    def concerns(self, change: Change, path: str) -> bool:
        """Whether a change of this file may affect what is served."""
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
    """The requirements files of environments: after a change, a reload says what to install."""
    found = set()
    for environment in config.environments.values():
        with suppress(RequirementsError):  # the reload reports it
            names = read_requirements(environment.requirements)
            found |= {(environment.requirements.parent / name).resolve() for name in names}
    return found


async def keep_reloading(reloader: Reloader, state: Path) -> None:
    """Report functions that do not load, then reload on each change, until cancelled."""
    await reloader.probe()
    while True:
        now = await anyio.to_thread.run_sync(watched, reloader.running.config, state)
        changes = awatch(
            *now.places,
            watch_filter=None,  # a filter would also drop the first, empty batch
            step=SETTLE_MS,
            debounce=LONGEST_MS,
            rust_timeout=FIRST_LOOK_MS,
            yield_on_timeout=True,
            recursive=False,
        )
        with suppress(FileNotFoundError):  # a folder was removed meanwhile
            await _reload_until_moved(reloader, state, now, changes)


async def _reload_until_moved(
    reloader: Reloader, state: Path, now: Watched, changes: AsyncGenerator[set[FileChange], None]
) -> None:
    """Reload at the first of `changes`, whatever it contains, then at those that concern `now`, until the folders to
    watch change.

    The first reload finds what was saved before the watch began. It must not wait for a quiet moment, because there is
    none while the server's own log grows in a watched folder.
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
