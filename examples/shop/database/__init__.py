"""The shop's database: PostgreSQL if DATABASE_URL is set, else SQLite in the data directory.

`connect` and `disconnect` are the hooks `after_fork` and `stop`: each instance has a connection of its own, because
processes must not share one. Statements are written once, for both databases, with `?` for parameters:

    rows = query("SELECT * FROM orders WHERE id = ?", id)

    with transaction() as execute:  # commits at the end of the block, rolls back if it raises
        execute("UPDATE products SET stock = stock - ? WHERE sku = ?", 1, "lamp")
"""

import os

from database.kind import Database, Execute, Row


def _chosen() -> Database:
    if url := os.environ.get("DATABASE_URL"):
        from database.postgresql import PostgreSQL  # only where psycopg is installed

        return PostgreSQL(url)
    from database.sqlite import SQLite

    return SQLite()


_database = _chosen()
connect = _database.connect
disconnect = _database.disconnect
query = _database.query
transaction = _database.transaction

__all__ = ["Execute", "Row", "connect", "disconnect", "query", "transaction"]
