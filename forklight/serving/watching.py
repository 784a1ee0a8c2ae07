"""`dev`: watch files, and reload when one is saved.

Theory of operation. The watcher reports changes directly in the folders of the code, and of the single files of
configuration, variables, secrets and requirements, and of the one that `forklight install` writes. A change that
concerns what is served is a reason to reload.
Wherever the watcher may have missed one, a look decides instead: it compares what the next reload would read with what
the last one found. That is so when a watch begins; half a second after changes, because the watcher loses what comes
while it hands over others; and when a watch breaks: because a folder is removed, because a file has a name that the
watcher cannot report, or because the system allows no more watches. Then `dev` looks every second.
After each reload the folders are determined again, and if they have changed the watch begins anew.
"""

import logging
import os
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing, suppress
from pathlib import Path

import anyio
import anyio.to_thread
from msgspec import Struct
from watchfiles import awatch
from watchfiles._rust_notify import WatchfilesRustInternalError
from watchfiles.main import FileChange

from forklight.code import archive, files
from forklight.code.databases import database_of
from forklight.code.selection import IGNORE_FILE, CodeError, Selection, select
from forklight.config.configuration import Config
from forklight.config.requirements import RequirementsError, read_requirements
from forklight.serving.data_in_code import DataInCode
from forklight.serving.installing import news
from forklight.serving.reload import Reloader

log = logging.getLogger(__name__)

SETTLE_MS = 15
"""A reload waits until nothing has changed for this long: editors write a file in several steps."""
LONGEST_MS = 200
"""The longest such wait."""
MANY = 10
"""So many changes at once are a burst."""
LONGEST_BURST_S = 5.0
"""In a burst that does not end, there is a reload after this time."""
FIRST_LOOK_MS = 500
"""The first look after a watch begins is after this time, or at the first change of any file."""
POLL_S = 1.0
"""How often `dev` looks where it cannot watch."""
LIMITS = {
    "OS file watch limit reached": "fs.inotify.max_user_watches",
    "os error 24": "fs.inotify.max_user_instances",
}
"""The limit that a message of the watcher is about: inotify(7)."""


class Watched(Struct, frozen=True):
    """What to watch: everything directly in `folders` that is code by `selections`, and `files`."""

    folders: frozenset[Path]
    files: frozenset[Path]
    selections: tuple[Selection, ...] = ()

    @property
    def places(self) -> list[Path]:
        """The folders to watch: those that exist, can be read, and have a name that the watcher can take."""
        every = {*self.folders, *(file.parent for file in self.files)}
        return sorted(place for place in every if _is_utf8(place) and place.is_dir() and os.access(place, os.R_OK))

    @property
    def is_partial(self) -> bool:
        """Whether the watcher cannot take some folder."""
        return not all(_is_utf8(folder) for folder in self.folders)

    def judge(self, changes: set[FileChange]) -> "Judged":
        """Look at what has changed. Blocks."""
        paths = {Path(path) for _, path in changes}
        of_code = {path for path in paths - self.files if self._is_code(path)}
        databases = {path: main for path in of_code if (main := self.database_of(path))}
        of_code -= databases.keys()
        files = {path for path in of_code if path.suffix != ".py" and path.is_file()}
        return Judged(
            bool(paths & self.files or of_code), frozenset(databases.values()), frozenset(files) - self._ignore_files()
        )

    def database_of(self, path: Path) -> Path | None:
        """Return the database in the code that `path` belongs to, whose changes affect nothing, or None. Blocks."""
        within = [selection for selection in self.selections if path.is_relative_to(selection.root)]
        return next((main for selection in within if (main := database_of(selection, path))), None)

    def _is_code(self, path: Path) -> bool:
        return path.parent in self.folders and any(selection.concerns(path) for selection in self.selections)

    def loses(self, changes: set[FileChange]) -> bool:
        """Whether a watched folder itself has changed: one that was removed and made anew is watched no more."""
        folders = self.folders.union(file.parent for file in self.files)
        return any(Path(path) in folders for _, path in changes)

    def _ignore_files(self) -> set[Path]:
        return {selection.root / IGNORE_FILE for selection in self.selections}


class Judged(Struct, frozen=True):
    """What a batch of changes means."""

    concerns: bool
    """Whether one of them may affect what is served."""
    databases: frozenset[Path] = frozenset()
    """Databases that have changed, which does not."""
    files: frozenset[Path] = frozenset()
    """Those that do and are neither Python nor configuration."""


NOTHING = Judged(False)


class Look(Struct, frozen=True):
    """What a reload would read. `marks` has (path, time, inode, size, mode) of each file: another one if it changes."""

    watched: Watched
    marks: frozenset[tuple[Path, int, int, int, int]]


def look(config: Config, state: Path) -> Look:
    """Look at everything that is served. Blocks."""
    apart = config.no_code | {state} | files.own_logs()
    single = config.no_code | {config.path, news(state)} | _requirements(config)
    single |= {path.resolve() for path in single}
    selections = []
    for code in sorted({function.code for function in config.functions.values() if function.source is None}):
        if not code.is_dir():
            single |= {code}
        try:
            if not archive.is_archive(code):
                selections.append(select(code, apart))
        except CodeError:  # the reload reports it
            single |= {code / IGNORE_FILE}
    places = [selection.places() for selection in selections]
    folders = frozenset(folder for found, _ in places for folder in found)
    every = single.union(*(found for _, found in places))
    watched = Watched(folders, single, tuple(selections))
    return Look(watched, frozenset(_mark(path) for path in every if path in single or not watched.database_of(path)))


def _mark(path: Path) -> tuple[Path, int, int, int, int]:
    try:
        status = path.stat()
    except OSError:
        return path, 0, 0, 0, 0
    return path, status.st_mtime_ns, status.st_ino, status.st_size, status.st_mode


def _requirements(config: Config) -> frozenset[Path]:
    """The requirements files of environments: after a change, a reload says what to install."""
    found = set()
    for environment in config.environments.values():
        with suppress(RequirementsError):  # the reload reports it
            names = read_requirements(environment.requirements)
            found |= {(environment.requirements.parent / name).resolve() for name in names}
    return frozenset(found)


async def keep_reloading(reloader: Reloader, state: Path) -> None:
    """Report functions that do not load, then reload on each change, until cancelled."""
    await reloader.probe()
    watching = _Watching(reloader, state)
    while True:
        try:
            await watching.watch()
        except* (OSError, WatchfilesRustInternalError) as errors:
            pause_s = watching.pause_s(errors)
            await watching.look()
            await anyio.sleep(pause_s)


class _Burst:
    """A program that writes many files, such as git: a reload before its end would find half of them."""

    def __init__(self) -> None:
        self._end_s: float | None = None

    @property
    def is_on(self) -> bool:
        return self._end_s is not None

    def goes_on(self, changes: int) -> bool:
        """Whether to wait for the next changes, or for half a second without any."""
        now_s = anyio.current_time()
        if self._end_s is None and changes >= MANY:
            self._end_s = now_s + LONGEST_BURST_S
        return self._end_s is not None and changes >= MANY and now_s < self._end_s


class _Watching:
    def __init__(self, reloader: Reloader, state: Path) -> None:
        self._reloader = reloader
        self._state = state
        self._seen: Look | None = None
        """What the last look found before its reload; None if something has changed since."""
        self._has_told = False
        self._data = DataInCode()

    async def watch(self) -> None:
        """Reload on changes until the folders to watch change. Raises what the watcher raises."""
        watched = (await self._look()).watched
        burst, is_certain, is_lost = _Burst(), False, False
        async with aclosing(_changes(watched.places)) as changes:
            async for changed in changes:
                is_lost = is_lost or watched.loses(changed)
                judged = await anyio.to_thread.run_sync(watched.judge, changed) if changed else NOTHING
                self._data.databases_changed(judged.databases)
                if judged.concerns:
                    self._seen = None
                    if burst.goes_on(len(changed)):
                        continue
                    self._data.files_changed(judged.files)
                elif is_certain and not (burst.is_on or is_lost or (watched.is_partial and not changed)):
                    is_certain = not changed
                    continue
                burst, is_certain = _Burst(), not changed
                has_reloaded = await self.look()
                if is_lost or (has_reloaded and (await self._look()).watched != watched):
                    return

    async def look(self) -> bool:
        """Reload if a look finds something else than the last one. Return whether it did."""
        now = await self._look()
        if now == self._seen:
            return False
        self._seen = now
        await self._reloader.reload()
        return True

    def pause_s(self, errors: ExceptionGroup[Exception]) -> float:
        """Return how long to wait before the next watch, after saying once if there can be none."""
        limit = next((limit for text, limit in LIMITS.items() if text in repr(errors)), None)
        if limit is None:
            return LONGEST_MS / 1000
        if not self._has_told:
            self._has_told = True
            log.warning(
                "cannot watch the code: the limit %s is reached; dev looks every second instead. "
                "Raise it with sysctl, or list folders without code in %s",
                limit,
                IGNORE_FILE,
            )
        return POLL_S

    async def _look(self) -> Look:
        return await anyio.to_thread.run_sync(look, self._reloader.running.config, self._state)


def _changes(places: Iterable[Path]) -> AsyncGenerator[set[FileChange], None]:
    """Yield changes directly in these folders; an empty set for each half second without."""
    return awatch(
        *places,
        watch_filter=None,  # a filter would also drop the first, empty batch
        step=SETTLE_MS,
        debounce=LONGEST_MS,
        rust_timeout=FIRST_LOOK_MS,
        yield_on_timeout=True,
        recursive=False,
    )


def _is_utf8(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True
