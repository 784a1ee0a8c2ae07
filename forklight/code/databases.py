"""SQLite databases in the code: a snapshot has a copy of them, which stays as it is while the original changes.

Those count that `.forklightignore` does not take in by name: with such a line, a database is meant to be read only.
"""

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from forklight.code.files import CodeFile
from forklight.code.selection import Selection

_MAGIC = b"SQLite format 3\0"
_SMALLEST_PAGE_BYTES = 512
"""The size of a database is a multiple of it (sqlite.org/fileformat.html)."""
_COMPANIONS = ("-wal", "-shm", "-journal")


def databases(selection: Selection, files: Iterable[CodeFile]) -> list[str]:
    """Return the names of those files of the code that are databases."""
    found = (file.name for file in files if _is_database(file.path))
    return [name for name in found if not selection.takes_in(name)]


def database_of(selection: Selection, path: Path) -> Path | None:
    """Return the database in the code that `path` is, or beside which SQLite keeps it, gone or not; else None."""
    name = next((path.name.removesuffix(end) for end in _COMPANIONS if path.name.endswith(end)), path.name)
    main = path.with_name(name)
    return main if _is_database(main) and not selection.takes_in(str(main.relative_to(selection.root))) else None


def _is_database(path: Path) -> bool:
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode) or status.st_size % _SMALLEST_PAGE_BYTES:
            return False
        if not status.st_size:  # until its first transaction ends
            return any(os.path.exists(f"{path}{end}") for end in _COMPANIONS)
        with open(path, "rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except (OSError, ValueError):
        return False
