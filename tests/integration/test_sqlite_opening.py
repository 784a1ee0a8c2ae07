"""Opening the embedded store: its settings are in force, and whatever stands in the way is said in one line."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from bus.sqlite import open_sqlite
from bus.sqlite.database import SCHEMA_VERSION, open_database
from bus.store import StoreError
from tests.stores import drain, fill

OPEN = """
import asyncio, sys
from pathlib import Path
from bus.sqlite import open_sqlite
from bus.store import StoreError

async def main():
    async with open_sqlite(Path(sys.argv[1])):
        pass

try:
    asyncio.run(main())
except StoreError as error:
    print(error)
"""


def opened_elsewhere(path: Path) -> str:
    """What another process is told that opens it: nothing if all is well."""
    return subprocess.run([sys.executable, "-c", OPEN, path], check=True, capture_output=True, text=True).stdout


async def refusal(path: Path) -> str:
    with pytest.raises(StoreError) as refused:
        async with open_sqlite(path):
            pass
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_every_commit_is_synced(tmp_path: Path) -> None:
    connection = open_database(tmp_path / "store.db")
    try:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
        assert connection.execute("PRAGMA locking_mode").fetchone() == ("exclusive",)
    finally:
        connection.close()


def test_what_is_due_is_found_by_an_index(tmp_path: Path) -> None:
    connection = open_database(tmp_path / "store.db")
    try:
        query = "SELECT id FROM messages WHERE queue = 'q' AND (due_ns, id) > (1, 1) ORDER BY due_ns, id"
        [plan] = connection.execute(f"EXPLAIN QUERY PLAN {query}").fetchall()
        assert "USING COVERING INDEX messages_due (queue=? AND due_ns>" in plan[3]
    finally:
        connection.close()


async def test_a_second_process_is_told_who_has_it(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    async with open_sqlite(path) as store:
        await fill(store, "q", 1)
        assert opened_elsewhere(path) == (
            f"the store {path} is in use by another process: stop that one, or name another state directory\n"
        )
        assert len(await drain(store, "q", 1)) == 1
    assert opened_elsewhere(path) == ""


async def test_one_that_was_just_made_is_kept_for_us_too(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    async with open_sqlite(path):
        assert "in use by another process" in opened_elsewhere(path)


async def test_one_that_was_there_is_kept_for_us_before_anything_is_written(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    async with open_sqlite(path):
        pass
    async with open_sqlite(path):
        assert "in use by another process" in opened_elsewhere(path)


async def test_a_newer_schema_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    async with open_sqlite(path):
        pass
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    connection.close()
    assert await refusal(path) == (
        f"the store {path} has schema version {SCHEMA_VERSION + 1}, and this Forklight knows versions up to "
        f"{SCHEMA_VERSION}: run the newer Forklight that wrote it, or name another state directory"
    )


async def test_a_database_of_something_else_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    before = path.read_bytes()
    assert await refusal(path) == f"{path} is a database, but not a store of Forklight's"
    assert path.read_bytes() == before


async def test_a_file_of_something_else_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.write_text("notes to self, much longer than a header of a database would ever have to be\n" * 100)
    before = path.read_bytes()
    assert await refusal(path) == f"the store {path} cannot be opened: file is not a database"
    assert path.read_bytes() == before


async def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "no" / "store.db"
    assert await refusal(path) == f"the store {path} cannot be made: No such file or directory"
