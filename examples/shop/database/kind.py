"""What the shop needs of a database."""

from contextlib import AbstractContextManager
from typing import Any, Protocol

Row = dict[str, Any]


class Execute(Protocol):
    """Run one statement and return its rows."""

    def __call__(self, sql: str, *parameters: object) -> list[Row]: ...


class Database(Protocol):
    def connect(self) -> None: ...

    def disconnect(self) -> None: ...

    def query(self, sql: str, *parameters: object) -> list[Row]:
        """Run one statement in a transaction of its own."""

    def transaction(self) -> AbstractContextManager[Execute]: ...
