"""Copies of the store: of one whose file is lost while it is open, so that what it holds is not lost with it."""

import contextlib
import sqlite3
import time
from pathlib import Path


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


def copy_to(connection: sqlite3.Connection, path: Path) -> None:
    """Make a consistent copy, readable by us alone. Raises OSError, FileExistsError among them, and sqlite3.Error."""
    path.touch(mode=0o600, exist_ok=False)
    with contextlib.closing(sqlite3.connect(path)) as copy:
        connection.backup(copy)
