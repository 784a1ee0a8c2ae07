"""SQLite: one file, for one machine."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from database.kind import Execute, Row

BUSY_TIMEOUT_S = 10.0
"""How long a statement waits while another instance writes."""


class SQLite:
    def connect(self) -> None:
        path = Path(os.environ["FORKLIGHT_DATA"]) / "shop.db"
        self._connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
        self._connection.row_factory = sqlite3.Row
        self._connection.execute("PRAGMA journal_mode = WAL")  # readers and the writer do not wait for one another
        self._connection.execute("PRAGMA foreign_keys = ON")

    def disconnect(self) -> None:
        self._connection.close()

    def query(self, sql: str, *parameters: object) -> list[Row]:
        return [dict(row) for row in self._connection.execute(sql, parameters)]

    @contextmanager
    def transaction(self) -> Iterator[Execute]:
        # IMMEDIATE waits for its turn here. Otherwise the first write of a transaction that has read could fail.
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield self.query
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")
