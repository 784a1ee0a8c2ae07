"""The file: its schema, and the settings on which the store's promises rest.

WAL with `synchronous=FULL` syncs the log at every commit: what was committed survives a power cut. The locking mode
`EXCLUSIVE` keeps every other process out for as long as we run, which also rules out SQLite's bug of a log reset by two
connections at once (sqlite.org/wal.html, "The WAL-reset bug"). A connection must not cross a fork; nothing in this
process forks, and SQLite opens its files close-on-exec.
"""

import os
import sqlite3
from pathlib import Path
from typing import Any

from bus.store import StoreError

SCHEMA_VERSION = 1

_SCHEMA = """
CREATE TABLE messages (
    id INTEGER PRIMARY KEY,          -- in order of arrival
    queue TEXT NOT NULL,
    due_ns INTEGER NOT NULL,         -- not to be delivered before; store time, as the next
    stored_ns INTEGER NOT NULL,
    attempts INTEGER NOT NULL,       -- that failed
    first_error TEXT NOT NULL,
    envelope BLOB NOT NULL,          -- all of the message but its body
    body BLOB NOT NULL
);
CREATE INDEX messages_due ON messages (queue, due_ns);
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""

_LOG_LIMIT_BYTES = 16 * 1024 * 1024
"""What of the log is kept as a file after it has grown larger."""


def open_database(path: Path) -> sqlite3.Connection:
    """Open or make the store at `path`, for this process alone. Raises StoreError, with the path and one cause."""
    connection = None
    try:
        if not path.exists():
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(path, timeout=0, isolation_level=None)
        _prepare(connection, path)
    except (OSError, sqlite3.Error, StoreError) as error:
        if connection is not None:
            connection.close()
        raise error if isinstance(error, StoreError) else StoreError(_cause(path, error)) from error
    return connection


def write_nothing(connection: sqlite3.Connection) -> None:
    """Commit the version that is there already: one page to the log and to the disk. Raises sqlite3.Error."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")
    finally:
        roll_back(connection)


def roll_back(connection: sqlite3.Connection) -> None:
    """End a transaction that is still open; some errors have ended it already."""
    if connection.in_transaction:
        connection.execute("ROLLBACK")


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    version = _one(connection, "PRAGMA user_version")
    if version > SCHEMA_VERSION:
        raise StoreError(
            f"the store {path} has schema version {version}, and this Forklight knows versions up to {SCHEMA_VERSION}: "
            "run the newer Forklight that wrote it, or name another state directory"
        )
    if version == 0 and _one(connection, "SELECT count(*) FROM sqlite_schema"):
        raise StoreError(f"{path} is a database, but not a store of Forklight's")
    journal = _one(connection, "PRAGMA journal_mode = WAL")
    if journal != "wal":
        raise StoreError(f"the store {path} cannot have a write-ahead log there (journal mode {journal})")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA secure_delete = OFF")  # Debian's default would write zeros over each settled message
    connection.execute(f"PRAGMA journal_size_limit = {_LOG_LIMIT_BYTES}")
    if version == 0:
        connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT")
    else:
        write_nothing(connection)


def _one(connection: sqlite3.Connection, statement: str) -> Any:
    [value] = connection.execute(statement).fetchone()
    return value


def _cause(path: Path, error: OSError | sqlite3.Error) -> str:
    if isinstance(error, OSError):
        return f"the store {path} cannot be made: {error.strerror}"
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY:
        return f"the store {path} is in use by another process: stop that one, or name another state directory"
    return f"the store {path} cannot be opened: {error}"
