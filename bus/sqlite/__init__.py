"""The embedded store: a file of this process's own, through the `sqlite3` module. `store` is its face."""

from bus.sqlite.clock import Clocks
from bus.sqlite.store import SqliteStore, open_sqlite

__all__ = ["Clocks", "SqliteStore", "open_sqlite"]
