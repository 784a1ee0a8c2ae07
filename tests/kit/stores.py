"""What the tests of both stores share: how each kind is opened, messages, and a ledger of their ids.

A test asks for the fixture `stores`, a factory: entering what it returns opens the store, and opening it again after it
was closed opens the same store with what was left in it. A kind of store takes part by its entry in `KINDS`; each
test then runs once per kind. What it opens must be used in the loop of the test.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from bus.message import Delivery, Message, Outgoing, dead_queue
from bus.rabbitmq import open_rabbitmq
from bus.retry import Ack, Decision
from bus.sqlite import Clocks, open_sqlite
from bus.store import Consumer, Settlement, Source, Store, Stored

StoreFactory = Callable[[], AbstractAsyncContextManager[Store]]


def _sqlite(request: pytest.FixtureRequest) -> StoreFactory:
    path: Path = request.getfixturevalue("tmp_path") / "store.db"
    return lambda: open_sqlite(path)


def _rabbitmq(request: pytest.FixtureRequest) -> StoreFactory:
    url: str = request.getfixturevalue("amqp_url")
    return lambda: open_rabbitmq(url)


KINDS: dict[str, Callable[[pytest.FixtureRequest], StoreFactory]] = {"rabbitmq": _rabbitmq, "sqlite": _sqlite}
"""By name: how to make a factory for one test, with whatever other fixtures it needs (`request.getfixturevalue`)."""

_FEW = 10
LIMIT_S = 20.0
"""How long a test waits for what must come."""


def fresh(name: str = "queue") -> str:
    """A queue name that no other test has: a broker is shared by all of them."""
    return f"{name}-{uuid4().hex[:12]}"


def source(queue: str, function: str = "f") -> Source:
    """The queue as a function consumes it, with a dead letter queue that no other test has."""
    return Source(queue=queue, function=function, dead_letter=dead_queue(f"{function}-{queue}"))


def message(body: bytes = b"{}", **fields: Any) -> Message:
    """A message with an id of its own."""
    return Message(**({"id": uuid4().hex, "body": body, "content_type": "application/json"} | fields))


def to(queue: str, *messages: Message, delay_s: float = 0.0) -> list[Outgoing]:
    """The messages on their way into the queue."""
    return [Outgoing(queue=queue, message=each, delay_s=delay_s) for each in messages]


async def fill(store: Store, queue: str, count: int) -> list[str]:
    """Publish `count` messages at once; returns their ids in order."""
    messages = [message() for _ in range(count)]
    await store.publish(to(queue, *messages))
    return [each.id or "" for each in messages]


async def take(consumer: Consumer, count: int = 1) -> list[Delivery]:
    """The next `count` deliveries, unsettled; fails if they do not come in time."""
    async with asyncio.timeout(LIMIT_S):
        return [await consumer.next() for _ in range(count)]


async def settle(store: Store, deliveries: Iterable[Delivery], decision: Decision | None = None) -> None:
    """Settle all with the same decision: acknowledged unless it says otherwise."""
    await store.settle([Settlement(each, decision or Ack()) for each in deliveries])


async def drain(store: Store, queue: str, count: int) -> list[Delivery]:
    """Take `count` messages out of the queue, acknowledged, through a consumer of its own."""
    async with store.consume(source(queue), prefetch=count) as consumer:
        deliveries = await take(consumer, count)
        await settle(store, deliveries)
    return deliveries


async def browsed(store: Store, queue: str, count: int) -> list[Message]:
    """What lies ready in the queue, once these are `count` messages; a broker may take a moment to show them.

    If they are few, with their bodies.
    """
    async with asyncio.timeout(LIMIT_S):
        while True:
            found = await store.browse(queue, limit=count + 1)
            if len(found) == count:
                return [await _whole(store, queue, each) if count <= _FEW else each.message for each in found]
            await asyncio.sleep(0.01)


async def _whole(store: Store, queue: str, stored: Stored) -> Message:
    fetched = await store.fetch(queue, stored.key)
    assert fetched is not None
    return fetched.message


def ids(deliveries: Iterable[Delivery | Message]) -> list[str]:
    """The message ids, in order."""
    found = (each.message if isinstance(each, Delivery) else each for each in deliveries)
    return [each.id or "" for each in found]


class Ledger:
    """Which ids were accepted by a store and how often each came back: the vocabulary of Jepsen's queue checker."""

    def __init__(self) -> None:
        self.accepted: set[str] = set()
        self.uncertain: set[str] = set()
        """Given to the store, which did not say that it has them: it may."""
        self.seen: Counter[str] = Counter()

    def account(self) -> Mapping[str, Sequence[str]]:
        """The ids that were lost, and those that came though nobody sent them; duplicates are for the test to bound."""
        return {
            "lost": sorted(self.accepted - self.seen.keys()),
            "unexpected": sorted(self.seen.keys() - self.accepted - self.uncertain),
        }

    @property
    def duplicates(self) -> int:
        """How many deliveries were not the first of their id."""
        return self.seen.total() - len(self.seen)


BALANCED: Mapping[str, Sequence[str]] = {"lost": [], "unexpected": []}
"""The account of a ledger in which all is well."""


class HandClock:
    """A wall clock and a monotonic one that stand still until they are moved."""

    def __init__(self) -> None:
        self.wall_ns = 1_800_000_000 * 10**9
        self.monotonic_ns = 5 * 10**9
        self.clocks = Clocks(lambda: self.wall_ns, lambda: self.monotonic_ns)

    def advance(self, seconds: float) -> None:
        """Time passes."""
        self.monotonic_ns += int(seconds * 1e9)
        self.wall_ns += int(seconds * 1e9)

    def set_wall(self, seconds: float) -> None:
        """Somebody sets the wall clock so much forward, or back."""
        self.wall_ns += int(seconds * 1e9)
