"""SQLite databases in the code are recognised by what they hold."""

import contextlib
import os
import sqlite3
from pathlib import Path

import pytest

from forklight.code.databases import database_of, databases
from forklight.code.files import collect
from forklight.code.selection import IGNORE_FILE, select


@pytest.mark.parametrize("page_size", [512, 4096, 65536])
def test_a_database_and_what_lies_beside_it(tmp_path: Path, page_size: int) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "shop")) as database:
        database.execute(f"PRAGMA page_size = {page_size}")
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE t (word)")
        assert {path.name for path in tmp_path.iterdir()} == {"shop", "shop-wal", "shop-shm"}
        assert all(database_of(select(tmp_path), path) == tmp_path / "shop" for path in tmp_path.iterdir())
    assert database_of(select(tmp_path), tmp_path / "shop-journal"), "it may be gone again"
    assert databases(select(tmp_path), collect(tmp_path)) == ["shop"]
    (tmp_path / IGNORE_FILE).write_text("!shop\n")
    assert databases(select(tmp_path), collect(tmp_path)) == []
    assert not database_of(select(tmp_path), tmp_path / "shop-wal")


def test_a_database_before_its_first_transaction_has_ended(tmp_path: Path) -> None:
    (tmp_path / "new.db").touch()
    assert database_of(select(tmp_path), tmp_path / "new.db") is None
    (tmp_path / "new.db-journal").touch()
    assert database_of(select(tmp_path), tmp_path / "new.db-journal") == tmp_path / "new.db"


def test_what_is_none(tmp_path: Path) -> None:
    magic = b"SQLite format 3\0"
    (tmp_path / "text.db").write_bytes(b"-" * 512)
    (tmp_path / "short.db").write_bytes(magic)
    (tmp_path / "empty.db").touch()
    (tmp_path / "notes-wal").touch()
    os.mkfifo(tmp_path / "pipe.db")
    assert databases(select(tmp_path), collect(tmp_path)) == []
    names = ("text.db", "empty.db", "notes-wal", "pipe.db", "nothing", "nothing-journal")
    assert not any(database_of(select(tmp_path), tmp_path / name) for name in names)
