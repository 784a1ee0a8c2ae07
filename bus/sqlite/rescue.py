"""Copies of the store: as a backup, or because the file of the open store was removed or replaced."""

import contextlib
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

_STEP_PAGES = 256
"""1 MiB; other operations wait while one step is copied."""


def rescued(connection: sqlite3.Connection, path: Path) -> str:
    """Save the contents of the open store beside `path`. Return a sentence that says where, or why not."""
    copy = path.with_name(f"{path.name}.saved-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}")
    if not path.parent.is_dir():
        return "Its messages are lost with its folder"
    try:
        copy_to(connection, copy)
    except (OSError, sqlite3.Error) as error:
        return f"Its messages could not be saved: {error}"
    return f"Its messages were saved as {copy}: to restore them, stop the server and replace {path.name} with that file"


def copy_to(connection: sqlite3.Connection, path: Path, meanwhile: Callable[[], None] | None = None) -> None:
    """Make a consistent copy that only we can read; call `meanwhile` between the steps.

    Raises OSError (FileExistsError if `path` exists), sqlite3.Error, and what `meanwhile` raises; no copy is left then.
    """
    path.touch(mode=0o600, exist_ok=False)
    try:
        with contextlib.closing(sqlite3.connect(path)) as copy:
            if meanwhile is None:
                connection.backup(copy)
            else:
                go_on = meanwhile
                connection.backup(copy, pages=_STEP_PAGES, progress=lambda *_: go_on(), sleep=0)
    except BaseException:
        path.unlink()
        raise
