"""Copies of the store: a backup, and of one whose file is lost while it is open, so that what it holds is not."""

import contextlib
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

_STEP_PAGES = 256
"""1 MiB: others wait as long as it takes to copy that."""


def rescued(connection: sqlite3.Connection, path: Path) -> str:
    """Save what the open store holds beside `path`, and say so, or say why not."""
    copy = path.with_name(f"{path.name}.saved-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}")
    if not path.parent.is_dir():
        return "What it held is lost with its folder"
    try:
        copy_to(connection, copy)
    except (OSError, sqlite3.Error) as error:
        return f"What it held could not be saved: {error}"
    return (
        f"What it held was saved as {copy}: to have it back, stop the server and put that in the place of {path.name}"
    )


def copy_to(connection: sqlite3.Connection, path: Path, meanwhile: Callable[[], None] | None = None) -> None:
    """Make a consistent copy, readable by us alone; call `meanwhile` between two steps of it.

    Raises OSError, FileExistsError among them, sqlite3.Error, and what `meanwhile` raises; there is no copy then.
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
