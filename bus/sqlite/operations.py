"""Operations of the event loop for the store's thread, and how results return. The two share nothing else."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bus.sqlite.leases import Leases
from bus.sqlite.reads import Arrival, View
from bus.sqlite.transaction import Transaction
from bus.store import StoreError

Answer = Callable[[Any, StoreError | None], None]
"""Takes the result of an operation, or its error, in the event loop."""
Result = tuple[Answer, Any, StoreError | None]


class Write(NamedTuple):
    """Part of a transaction. `run` is called again if another part made the first transaction fail."""

    run: Callable[[Transaction], Any]
    answer: Answer


class Read(NamedTuple):
    """Reads committed data."""

    run: Callable[[View], Any]
    answer: Answer


class Copy(NamedTuple):
    """Copies the whole store as it is at the end of the copy. Other operations continue meanwhile."""

    path: Path
    answer: Answer


class Change(NamedTuple):
    """Changes the consumers. There is no result: every later operation sees the change."""

    run: Callable[[Leases], None]


Operation = Write | Read | Copy | Change


def hand_over(arrivals: Sequence[Arrival], results: Sequence[Result]) -> None:
    """In the event loop: pass results to their callers, and messages to the shelves of their queues."""
    for answer, result, error in results:
        answer(result, error)
    for shelf, count, deliveries in arrivals:
        shelf.arrive(count, deliveries)


def answer_to(future: "asyncio.Future[Any]", then: Callable[[], None] | None = None) -> Answer:
    """Return an answer for whoever awaits the future, if anybody still does. `then` follows a success in any case."""

    def answer(result: Any, error: StoreError | None) -> None:
        if error is None and then is not None:
            then()
        if error is not None:
            fail(future, error)
        elif not future.done():
            future.set_result(result)

    return answer


def fail(future: "asyncio.Future[Any]", error: Exception) -> None:
    """In the event loop: raise the error in the caller, unless it already has a result."""
    if not future.done():
        future.set_exception(error)
