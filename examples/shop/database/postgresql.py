"""PostgreSQL, through a pool of one connection: an instance runs one call at a time.

What the pool adds to a connection: it makes a new one if the server has closed the old one, and tries each before use.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from psycopg import Connection
from psycopg.rows import DictRow, dict_row
from psycopg_pool import ConnectionPool

from database.kind import Execute, Row

CONNECT_TIMEOUT_S = 10.0


class PostgreSQL:
    def __init__(self, url: str) -> None:
        self._url = url

    def connect(self) -> None:
        self._pool = ConnectionPool(
            self._url,
            min_size=1,
            max_size=1,
            timeout=CONNECT_TIMEOUT_S,
            check=ConnectionPool.check_connection,
            connection_class=Connection[DictRow],
            kwargs={"row_factory": dict_row},
            open=False,
        )
        self._pool.open(wait=True, timeout=CONNECT_TIMEOUT_S)  # if the server is away, events wait for the next try

    def disconnect(self) -> None:
        self._pool.close()

    def query(self, sql: str, *parameters: object) -> list[Row]:
        with self.transaction() as execute:
            return execute(sql, *parameters)

    @contextmanager
    def transaction(self) -> Iterator[Execute]:
        with self._pool.connection() as connection:

            def execute(sql: str, *parameters: object) -> list[Row]:
                cursor = connection.execute(sql.replace("?", "%s"), parameters)
                return cursor.fetchall() if cursor.description else []

            yield execute
