"""`python -m benchmarks.store`: what a durable message costs in the embedded store, beside bare `sqlite3`.

A message of 1 KiB is published, consumed and settled, each step awaited; `n` tasks do so at once, so that `n` messages
are in flight. Bare is the least that the same promises can cost on the same disk with the same settings, in one thread
without an event loop: `n` rows inserted and committed, read, deleted and committed. Both run in turns. It takes about
ten seconds.
"""

import asyncio
import sqlite3
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import anyio
import uvloop

from benchmarks.table import Row, Target, quantiles, render, single
from benchmarks.tree import machine
from bus.message import Message, Outgoing
from bus.retry import Ack
from bus.sqlite import SqliteStore, open_sqlite
from bus.sqlite.database import open_database
from bus.store import Consumer, Settlement, Source

LIMIT_S = 120.0
TURNS = 10
MESSAGES_PER_TURN = {1: 400, 32: 3200}
"""By how many are in flight."""
BODY = bytes(1024)
HEADERS = {"ce-specversion": "1.0", "ce-type": "forklight.queue", "ce-source": "/forklight/f", "ce-id": "x" * 36}
SOURCE = Source(queue="work", function="f", dead_letter="dead")


class Cost(NamedTuple):
    """Per message, in microseconds; the CPU time is of all threads, user and system."""

    wall_us: float
    cpu_us: float


async def measure(folder: Path) -> list[Row]:
    """Two rows for each number of messages in flight. Raises TimeoutError on a machine too slow or too busy."""
    rows: list[Row] = []
    bare = open_database(folder / "bare.db")
    with anyio.fail_after(LIMIT_S):
        async with open_sqlite(folder / "store.db") as store:
            for in_flight, messages in MESSAGES_PER_TURN.items():
                ours, theirs = [], []
                for _ in range(TURNS + 1):
                    ours.append(await _timed(partial(_store_turn, store, in_flight, messages), messages))
                    theirs.append(await _timed(partial(_bare_turn, bare, in_flight, messages), messages))
                rows += _rows(in_flight, ours[1:], theirs[1:])  # the first turn of each warms up
    bare.close()
    return rows


async def _timed(turn: Callable[[], Awaitable[None]], messages: int) -> Cost:
    begin_ns, begin_cpu_ns = time.monotonic_ns(), time.process_time_ns()
    await turn()
    cpu_ns, wall_ns = time.process_time_ns() - begin_cpu_ns, time.monotonic_ns() - begin_ns
    return Cost(wall_ns / 1000 / messages, cpu_ns / 1000 / messages)


async def _store_turn(store: SqliteStore, in_flight: int, messages: int) -> None:
    async with store.consume(SOURCE, prefetch=in_flight) as consumer, asyncio.TaskGroup() as group:
        for _ in range(in_flight):
            group.create_task(_work(store, consumer, messages // in_flight))


async def _work(store: SqliteStore, consumer: Consumer, messages: int) -> None:
    for number in range(messages):
        message = Message(id=f"message-{number}", body=BODY, content_type="application/json", headers=HEADERS)
        await store.publish([Outgoing(queue="work", message=message)])
        await store.settle([Settlement(await consumer.next(), Ack())])


async def _bare_turn(connection: sqlite3.Connection, in_flight: int, messages: int) -> None:
    values = [(time.time_ns(), BODY)] * in_flight
    for _ in range(messages // in_flight):
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT INTO messages VALUES (NULL, 'work', ?, 0, 0, '', x'', ?)", values)
        connection.execute("COMMIT")
        rows = connection.execute("SELECT id, body FROM messages WHERE queue = 'work' ORDER BY due_ns, id").fetchall()
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("DELETE FROM messages WHERE id = ?", [(key,) for key, _ in rows])
        connection.execute("COMMIT")


def _rows(in_flight: int, ours: list[Cost], theirs: list[Cost]) -> list[Row]:
    wall, bare_wall = (quantiles([cost.wall_us for cost in costs]) for costs in (ours, theirs))
    cpu, bare_cpu = (quantiles([cost.cpu_us for cost in costs]) for costs in (ours, theirs))
    rate, bare_rate = (single(1e6 / each.p50) for each in (wall, bare_wall))
    return [
        Row(f"durable messages, {in_flight} in flight", "/s", rate, bare_rate),
        Row(f"time per message, {in_flight} in flight", "us", wall, bare_wall, Target(500) if in_flight > 1 else None),
        Row(f"CPU per message, {in_flight} in flight", "us", cpu, bare_cpu),
    ]


def main() -> None:
    print(machine(), file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="forklight-benchmark-") as folder:
        rows = uvloop.run(measure(Path(folder)))
    print(render(rows))


if __name__ == "__main__":
    main()
