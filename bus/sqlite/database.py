"""The file: its schema, and the settings on which durability rests.

WAL with `synchronous=FULL` syncs the log at every commit, so committed data survives a power cut. The locking mode
`EXCLUSIVE` keeps other processes out, which also rules out the WAL-reset bug of two connections (sqlite.org/wal.html).
A connection must not cross a fork; nothing in this process forks, and SQLite opens its files close-on-exec.

A damaged file is refused at the start, because everything stored in it later would be lost too. The check reads the
whole file, so only files of up to `CHECKED_BYTES` are checked; damage in a larger file is reported when it is met
(`faults.py`).
"""

import os
import sqlite3
from functools import partial
from pathlib import Path
from typing import Any

from bus.sqlite.faults import damaged, log_path, opening_fault, place_fault
from bus.store import StoreError

SCHEMA_VERSION = 1
CHECKED_BYTES = 256 * 1024 * 1024
"""Takes well under a second to read when cached, a few seconds from a slow disk."""

_INDEX = "CREATE INDEX IF NOT EXISTS messages_due ON messages (queue, due_ns);"
_SCHEMA = f"""
CREATE TABLE messages (
    id INTEGER PRIMARY KEY,          -- in order of arrival
    queue TEXT NOT NULL,
    due_ns INTEGER NOT NULL,         -- not delivered before this; store time, like the next
    stored_ns INTEGER NOT NULL,
    attempts INTEGER NOT NULL,       -- failed ones
    first_error TEXT NOT NULL,
    envelope BLOB NOT NULL,          -- the message without its body
    body BLOB NOT NULL
);
{_INDEX}
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""
_COLUMNS = {
    "messages": {"id", "queue", "due_ns", "stored_ns", "attempts", "first_error", "envelope", "body"},
    "facts": {"name", "value"},
}

_LOG_LIMIT_BYTES = 16 * 1024 * 1024
"""The log file is truncated to this size after it has grown larger."""


def open_database(path: Path) -> sqlite3.Connection:
    """Open or create the store at `path` for this process alone. Raises StoreError with path, cause and remedy."""
    connection = None
    try:
        if fault := place_fault(path):
            raise StoreError(fault)
        if not path.exists():
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(path, timeout=0, isolation_level=None)
        _prepare(connection, path)
    except (OSError, sqlite3.Error, StoreError) as error:
        if connection is not None:
            connection.close()
        raise error if isinstance(error, StoreError) else StoreError(opening_fault(path, error)) from error
    return connection


def write_nothing(connection: sqlite3.Connection) -> None:
    """Commit the present schema version, which writes one page to the disk. Raises sqlite3.Error."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")
    finally:
        roll_back(connection)


def roll_back(connection: sqlite3.Connection) -> None:
    """Roll back if a transaction is open: some errors have already ended it."""
    if connection.in_transaction:
        connection.execute("ROLLBACK")


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    # One text that is not valid UTF-8 must not prevent reading the rows after it.
    connection.text_factory = partial(str, encoding="utf-8", errors="replace")
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    version = _one(connection, "PRAGMA user_version")
    if version > SCHEMA_VERSION:
        raise StoreError(
            f"the store {path} has schema version {version}, and this Forklight supports up to {SCHEMA_VERSION}: "
            "run the newer Forklight that wrote it, or name another state directory"
        )
    is_new = version == 0 and not _one(connection, "SELECT count(*) FROM sqlite_schema")
    if not is_new:
        _check(connection, path, version)
    journal = _one(connection, "PRAGMA journal_mode = WAL")
    if journal != "wal":
        raise StoreError(f"the store {path} cannot have a write-ahead log there (journal mode {journal})")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA secure_delete = OFF")  # Debian's default would write zeros over each settled message
    connection.execute(f"PRAGMA journal_size_limit = {_LOG_LIMIT_BYTES}")
    if is_new:
        connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT")
    else:
        write_nothing(connection)
        connection.execute(_INDEX)


def _check(connection: sqlite3.Connection, path: Path, version: int) -> None:
    """Raise StoreError unless it is an undamaged store. One from `sqlite3 .recover` may have version 0."""
    for table, columns in _COLUMNS.items():
        found = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
        if not columns <= found:
            what = f"schema version {version}, but not its tables" if version else "none of its tables"
            raise StoreError(
                f"{path} is a database, but not a Forklight store: it has {what}; "
                "move it away, or name another state directory"
            )
    log = log_path(path)
    if path.stat().st_size + (log.stat().st_size if log.exists() else 0) <= CHECKED_BYTES:
        found_wrong = _one(connection, "PRAGMA quick_check(1)")
        if found_wrong != "ok":
            raise StoreError(damaged(path, " ".join(found_wrong.split())))


def _one(connection: sqlite3.Connection, statement: str) -> Any:
    [value] = connection.execute(statement).fetchone()
    return value
