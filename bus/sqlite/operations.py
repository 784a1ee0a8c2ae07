"""What the event loop asks of the store's thread, and how it hands back what it found. Nothing else is shared."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bus.sqlite.leases import Leases
from bus.sqlite.reads import Arrival, View
from bus.sqlite.transaction import Transaction
from bus.store import StoreError

Result = tuple["asyncio.Future[Any]", Any, StoreError | None]


class Write(NamedTuple):
    """Part of a transaction. `run` may be called twice, if what it shared the first one with could not be done."""

    run: Callable[[Transaction], Any]
    future: "asyncio.Future[Any]"


class Read(NamedTuple):
    """Looks at what is committed."""

    run: Callable[[View], Any]
    future: "asyncio.Future[Any]"


class Copy(NamedTuple):
    """Makes a copy of the whole store, as it is at its end; everything else goes on meanwhile."""

    path: Path
    future: "asyncio.Future[None]"


class Change(NamedTuple):
    """Changes who consumes. Nobody waits for it: whatever is put into the inbox later sees it done."""

    run: Callable[[Leases], None]


Operation = Write | Read | Copy | Change


def hand_over(arrivals: Sequence[Arrival], results: Sequence[Result]) -> None:
    """In the event loop: messages to their consumers, results to who waits for them."""
    for intake, epoch, delivery in arrivals:
        intake.arrive(epoch, delivery)
    for future, result, error in results:
        if future.done():
            continue  # cancelled
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)


def fail(future: "asyncio.Future[Any]", error: Exception) -> None:
    """In the event loop: who waits is told, if nobody has told before."""
    if not future.done():
        future.set_exception(error)
