"""SQLite databases in the code are recognised by what they hold."""

import contextlib
import os
import sqlite3
from pathlib import Path

import pytest

from forklight.code.databases import databases, is_of_database
from forklight.code.files import collect


@pytest.mark.parametrize("page_size", [512, 4096, 65536])
def test_a_database_and_what_lies_beside_it(tmp_path: Path, page_size: int) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "shop")) as database:
        database.execute(f"PRAGMA page_size = {page_size}")
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE t (word)")
        assert {path.name for path in tmp_path.iterdir()} == {"shop", "shop-wal", "shop-shm"}
        assert all(is_of_database(path) for path in tmp_path.iterdir())
    assert is_of_database(tmp_path / "shop-journal"), "it may be gone again"
    assert databases(collect(tmp_path)) == ["shop"]


def test_what_is_none(tmp_path: Path) -> None:
    magic = b"SQLite format 3\0"
    (tmp_path / "text.db").write_bytes(b"-" * 512)
    (tmp_path / "short.db").write_bytes(magic)
    (tmp_path / "code.py").write_bytes(magic.ljust(512, b"#"))
    (tmp_path / "empty.db").touch()
    (tmp_path / "notes-wal").touch()
    os.mkfifo(tmp_path / "pipe.db")
    assert databases(collect(tmp_path)) == []
    names = ("text.db", "empty.db", "notes-wal", "pipe.db", "nothing", "nothing-journal")
    assert not any(is_of_database(tmp_path / name) for name in names)
