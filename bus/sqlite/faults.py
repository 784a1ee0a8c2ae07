"""Faults of the store's files, in words: what happened, to which file, and the remedy. Looks at the disk.

SQLite reports "disk I/O error" for a read-only folder and "unable to open database file" for a missing one; operators
need to know which it is. A file that was removed or replaced while open still accepts writes, which are lost: SQLite
does not notice, so we look (`Identity`).
"""

import os
import sqlite3
import stat
from pathlib import Path

_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def log_path(path: Path) -> Path:
    """The path of the write-ahead log, which has what was committed and is not yet in the file itself."""
    return path.with_name(f"{path.name}-wal")


def is_damage(error: Exception) -> bool:
    """Whether the error means that the file's content cannot be trusted."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in _DAMAGED


def damaged(path: Path, what: str) -> str:
    """The message for a damaged store."""
    return (
        f"the store {path} is damaged ({what}): stop the server and put a backup in its place, or what the sqlite3 "
        f"shell recovers from it (.recover or .dump), or move it away to start with an empty one; move "
        f"{log_path(path).name} with it"
    )


def place_fault(path: Path) -> str | None:
    """Why no store can be opened or created there, judging by the file system; None if one can. Raises OSError."""
    if path.is_symlink() and not path.exists():
        target = os.readlink(path)
        return f"the store {path} is a link to {target}, which does not exist: create its folder, or remove the link"
    if not path.exists():
        if _size_bytes(log_path(path)):
            return _without_file(path, "is missing")
        return None
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        what = "a directory" if stat.S_ISDIR(mode) else "not a regular file"
        return f"the store {path} cannot be opened: it is {what}; move it away, or name another state directory"
    if not path.stat().st_size and _size_bytes(log_path(path)):
        return _without_file(path, "is empty")
    return _read_only(path)


def opening_fault(path: Path, error: Exception) -> str:
    """Why the store could not be opened."""
    if isinstance(error, OSError):
        return f"the store {path} cannot be created: {error.strerror}; name another state directory"
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_BUSY:
        return f"the store {path} is in use by another process: stop that one, or name another state directory"
    if code == sqlite3.SQLITE_NOTADB:
        return (
            f"the store {path} cannot be opened: it is not an SQLite database, or its beginning is damaged; "
            "put a backup in its place, or move it away to start with an empty one"
        )
    if code == sqlite3.SQLITE_CORRUPT:
        return damaged(path, str(error))
    return f"the store {path} cannot be opened: {_on_disk(path) or error}"


def writing_fault(path: Path, error: Exception) -> str:
    """Why an open store could not be read or written."""
    if is_damage(error):
        return damaged(path, str(error))
    is_theirs = isinstance(error, sqlite3.DatabaseError)
    return f"the store {path}: {(_on_disk(path) if is_theirs else None) or error}"


def _without_file(path: Path, what: str) -> str:
    """Opening would make SQLite delete the log, and the committed messages in it."""
    return (
        f"the store {path} {what}, but its log {log_path(path).name} exists and has messages in it: "
        "put the file back, or move the log away to start with an empty store"
    )


def _read_only(path: Path) -> str | None:
    for place, what in ((path, "file"), (path.parent, "folder")):
        if not os.access(place, os.W_OK):
            return (
                f"the store {path} cannot be written: the {what} {place} is read-only for this user; "
                "make it writable (a store needs both its file and its folder), or name another state directory"
            )
    return None


def _on_disk(path: Path) -> str | None:
    """What the file system knows about a failure that SQLite calls an I/O error."""
    try:
        if not path.parent.exists():
            return f"its folder {path.parent} no longer exists"
        if read_only := _read_only(path):
            return read_only.partition("cannot be written: ")[2]
        if os.statvfs(path.parent).f_bavail == 0:
            return "the disk is full"
    except OSError as error:
        return error.strerror
    return None


def _size_bytes(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


class Identity:
    """The files of an open store, to check whether they are still under their names."""

    def __init__(self, path: Path) -> None:
        """Raises OSError."""
        self._files = {each: _number(each) for each in (path, log_path(path))}

    def lost(self) -> str | None:
        """Say which file was removed or replaced, or None."""
        for path, number in self._files.items():
            try:
                if _number(path) != number:
                    return f"{path} was replaced while it was open"
            except FileNotFoundError:
                return f"{path} was removed while it was open"
            except OSError as error:
                return f"{path} cannot be checked: {error.strerror}"
        return None


def _number(path: Path) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_dev, found.st_ino
