"""SQLite databases in the code: a snapshot has a copy of them, which stays as it is while the original changes."""

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from forklight.code.files import CodeFile

_MAGIC = b"SQLite format 3\0"
_SMALLEST_PAGE_BYTES = 512
"""The size of a database is a multiple of it (sqlite.org/fileformat.html)."""
_COMPANIONS = ("-wal", "-shm", "-journal")


def databases(files: Iterable[CodeFile]) -> list[str]:
    """Return the names of those that are databases. Reads only files of a likely size."""
    likely = (file for file in files if file.size_bytes and file.size_bytes % _SMALLEST_PAGE_BYTES == 0)
    return [file.name for file in likely if not file.name.endswith(".py") and _has_magic(file.path)]


def is_of_database(path: Path) -> bool:
    """Return whether this is a database, or one of the files that SQLite keeps beside one, which may be gone again."""
    main = next((path.name.removesuffix(end) for end in _COMPANIONS if path.name.endswith(end)), path.name)
    return _has_magic(path.with_name(main))


def _has_magic(path: Path) -> bool:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return False
        with open(path, "rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except (OSError, ValueError):
        return False
