"""`python -m tests.kit.store_loop STORE PREFIX`: publishes and settles without end, until somebody kills it.

Each message of the queue `in` is acknowledged with one output, to `out`, whose correlation id is the message's id. A
line on the standard output says which ids are about to be given to the store, and another that they were accepted.
"""

import asyncio
import itertools
import sys
from pathlib import Path

from bus.message import Message, Outgoing
from bus.retry import Ack
from bus.sqlite import SqliteStore, open_sqlite
from bus.store import Settlement
from tests.kit.stores import source

PUBLISHERS = 4
CONSUMERS = 4


def say(*words: str) -> None:
    """One line, at once."""
    sys.stdout.write(" ".join(words) + "\n")
    sys.stdout.flush()


async def publish(store: SqliteStore, prefix: str) -> None:
    """Groups of one to three, all or nothing."""
    for number in itertools.count():
        messages = [Message(id=f"{prefix}-{number}-{each}", body=bytes(500)) for each in range(number % 3 + 1)]
        names = [str(each.id) for each in messages]
        say("giving", *names)
        await store.publish([Outgoing(queue="in", message=each) for each in messages])
        say("accepted", *names)


async def consume(store: SqliteStore) -> None:
    """One at a time, each with its output."""
    async with store.consume(source("in"), prefetch=5) as consumer:
        while True:
            delivery = await consumer.next()
            output = Outgoing(queue="out", message=Message(correlation_id=delivery.message.id))
            await store.settle([Settlement(delivery, Ack(), (output,))])
            say("settled", str(delivery.message.id))


async def main(path: Path, prefix: str) -> None:
    async with open_sqlite(path) as store, asyncio.TaskGroup() as group:
        for number in range(PUBLISHERS):
            group.create_task(publish(store, f"{prefix}-{number}"))
        for _ in range(CONSUMERS):
            group.create_task(consume(store))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
