"""Opening the embedded store: its settings are in force, and whatever stands in the way is said in one line."""

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bus.sqlite import open_sqlite
from bus.sqlite.database import SCHEMA_VERSION, open_database
from bus.sqlite.faults import log_path
from bus.store import StoreError
from tests.kit.stores import drain, fill, ids, message, to

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


NOBODY = 65534


def opened_elsewhere(path: Path, user: int | None = None) -> str:
    """What another process is told that opens it: nothing if all is well."""
    command = [sys.executable, "-c", OPEN, str(path)]
    return str(subprocess.run(command, check=True, capture_output=True, text=True, user=user).stdout)


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
        f"the store {path} has schema version {SCHEMA_VERSION + 1}, and this Forklight supports up to "
        f"{SCHEMA_VERSION}: run the newer Forklight that wrote it, or name another state directory"
    )


@pytest.mark.parametrize(
    ("statements", "told"),
    [
        ("CREATE TABLE theirs (x)", "none of its tables"),
        ("PRAGMA user_version = 1", "schema version 1, but not its tables"),
        ("CREATE TABLE messages (id); CREATE TABLE facts (name, value); PRAGMA user_version = 1", "not its tables"),
    ],
)
async def test_a_database_of_something_else_is_left_alone(tmp_path: Path, statements: str, told: str) -> None:
    path = tmp_path / "store.db"
    with sqlite3.connect(path) as connection:
        connection.executescript(statements)
    connection.close()
    before = path.read_bytes()
    refused = await refusal(path)
    assert refused.startswith(f"{path} is a database, but not a Forklight store: it has ")
    assert told in refused
    assert "move it away" in refused
    assert path.read_bytes() == before


async def test_a_file_of_something_else_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.write_text("notes to self, much longer than a header of a database would ever have to be\n" * 100)
    before = path.read_bytes()
    assert (await refusal(path)).startswith(f"the store {path} cannot be opened: it is not an SQLite database")
    assert path.read_bytes() == before


async def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "no" / "store.db"
    assert (await refusal(path)).startswith(f"the store {path} cannot be created: No such file or directory")


async def test_a_directory_in_its_place_is_named(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.mkdir()
    assert "it is a directory; move it away" in await refusal(path)


async def test_a_link_to_nowhere_is_named(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.symlink_to("/nowhere/at/all")
    assert "is a link to /nowhere/at/all, which does not exist" in await refusal(path)


async def test_an_empty_file_is_a_new_store(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.touch()
    async with open_sqlite(path) as store:
        assert await fill(store, "q", 1) == ids(await drain(store, "q", 1))


@pytest.mark.parametrize("what", ["missing", "empty"])
async def test_a_log_without_its_file_is_kept(tmp_path: Path, what: str) -> None:
    """SQLite would delete it, and with it what was committed."""
    path = tmp_path / "store.db"
    async with open_sqlite(path) as store:
        await fill(store, "q", 3)
        log = log_path(path).read_bytes()
    path.unlink()
    if what == "empty":
        path.touch()
    log_path(path).write_bytes(log)
    refused = await refusal(path)
    assert f"is {what}, but its log store.db-wal exists" in refused
    assert log_path(path).read_bytes() == log


def damaged(good: bytes, start: int, length: int) -> bytes:
    return good[:start] + b"\xa5" * length + good[start + length :]


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda good: damaged(good, 0, 100), id="header"),
        pytest.param(lambda good: damaged(good, 4096, 4096), id="table"),
        pytest.param(lambda good: damaged(good, 8192, 4096), id="index"),
        pytest.param(lambda good: damaged(good, len(good) // 2 // 4096 * 4096, 8192), id="in the midst"),
        pytest.param(lambda good: good[: len(good) // 2], id="cut"),
    ],
)
async def test_a_damaged_store_is_refused_with_a_remedy_and_left_alone(
    tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "store.db"
    async with open_sqlite(path) as store:
        await store.publish(to("q", *(message(b"x" * 3000) for _ in range(100))))
    bad = damage(path.read_bytes())
    path.write_bytes(bad)
    refused = await refusal(path)
    assert str(path) in refused
    assert "damaged" in refused
    assert "put a backup in its place" in refused
    assert path.read_bytes() == bad


RECOVER = "sqlite3 {} .dump 2>&1 | sed 's/^ROLLBACK.*/COMMIT;/' | sqlite3 {}"
"""As docs/operating.md has it. Debian 12's shell has a `.recover` that saves nothing."""


@pytest.mark.skipif(shutil.which("sqlite3") is None, reason="the remedy needs SQLite's shell")
async def test_what_the_shell_saves_is_a_store(tmp_path: Path) -> None:
    path, saved = tmp_path / "store.db", tmp_path / "saved.db"
    async with open_sqlite(path) as store:
        await store.publish(to("q", *(message(b"x" * 3000) for _ in range(100))))
    path.write_bytes(damaged(path.read_bytes(), 8192, 4096))
    await asyncio.to_thread(subprocess.run, ["sh", "-c", RECOVER.format(path, saved)], check=True)
    async with open_sqlite(saved) as store:
        assert (await store.statistics("q")).ready == 100


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """One that everybody reaches; pytest closes its own when another session starts."""
    with tempfile.TemporaryDirectory(prefix="forklight-test-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")
@pytest.mark.parametrize(("name", "mode"), [("file", 0o444), ("folder", 0o555)])
async def test_what_is_read_only_is_named(open_folder: Path, name: str, mode: int) -> None:
    path = open_folder / "store.db"
    async with open_sqlite(path) as store:
        await fill(store, "q", 1)
    for place in (path, path.parent):
        os.chown(place, NOBODY, NOBODY)
    place = path if name == "file" else path.parent
    place.chmod(mode)
    refused = opened_elsewhere(path, user=NOBODY)
    assert f"cannot be written: the {name} {place} is read-only for this user" in refused
    assert refused.count("\n") == 1
