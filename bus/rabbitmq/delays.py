"""Delays on RabbitMQ: a ladder of queues whose messages expire, one for each power of two. Pure.

RabbitMQ expires messages at the head of a queue only, so that one queue can hold only one delay. A message climbs down
the ladder instead: a delay of 5.12 s is the levels 12 and 10 (4096 ms + 1024 ms), and it lies first in
`forklight.delay.12`, whose messages expire after 4096 ms, then in `forklight.delay.10`. Its routing key is the path,
`12.10`. What expires on level 12 goes to the topic exchange `forklight.delay.12`, whose binding `#.12.10.#` leads to
the next queue; the last one's binding `#.10` leads to the headers exchange `forklight.due`, which finds the queue that
the message is for by its header `forklight-to`. RabbitMQ does all of it by itself: no node of ours need be alive. A
path goes only downwards, so that none meets a queue twice, which RabbitMQ would take for a cycle and drop the message.
(All these names carry the application's: `forklight.shop.delay.12`.)

Only the highest bits of a delay count, rounded up: few steps, few bindings, and at most 3 % (and 16 ms) too late. All
queues dead-letter at least once, and RabbitMQ works on few (32) messages of a queue at a time until they are routed.
Those that can never be would hold up all others; so every exchange has an alternate one, `forklight.lost`, which leads
to a queue of what had nowhere to go.
"""

import math
from itertools import pairwise
from typing import Any

from msgspec import Struct

from bus.rabbitmq.names import Names

LOWEST = 4
HIGHEST = 31
"""RabbitMQ's longest expiration is 2^32 - 1 ms."""
LONGEST_S = 2.0 ** (HIGHEST + 1) / 1000 * 0.96
"""About 47 days."""
_BITS = 6
TO = "forklight-to"
"""The header of a delayed message that names the queue it is for."""
AT_LEAST_ONCE = {"x-dead-letter-strategy": "at-least-once", "x-overflow": "reject-publish"}
"""What keeps dead-lettering from losing messages. RabbitMQ has it for quorum queues, and only with both."""


class Exchange(Struct, frozen=True):
    name: str
    kind: str
    alternate: str = ""
    """The exchange that gets what this one cannot route."""


class Queue(Struct, frozen=True):
    """A quorum queue."""

    name: str
    level: int | None = None
    """The level of the ladder that it is; else it is whoever's, and made only if it is missing."""

    def arguments(self) -> dict[str, Any]:
        """What it is declared with."""
        found: dict[str, Any] = {"x-queue-type": "quorum"}
        if self.level is None:
            return found
        return found | AT_LEAST_ONCE | {"x-message-ttl": 1 << self.level, "x-dead-letter-exchange": self.name}


class Binding(Struct, frozen=True):
    source: str
    target: Exchange | Queue
    key: str = ""
    to: str = ""
    """The value of `forklight-to` that it wants."""


Piece = Exchange | Queue | Binding


def steps(delay_s: float) -> tuple[int, ...]:
    """The levels to climb down, highest first; none for no delay. Raises ValueError for one beyond `LONGEST_S`."""
    if delay_s > LONGEST_S:
        raise ValueError(f"a delay of {delay_s:g} s: RabbitMQ holds a message back for at most {LONGEST_S:.0f} s")
    milliseconds = math.ceil(delay_s * 1000)
    if milliseconds <= 0:
        return ()
    unit = 1 << max(LOWEST, milliseconds.bit_length() - _BITS)
    rounded = -(-milliseconds // unit) * unit
    return tuple(number for number in range(HIGHEST, LOWEST - 1, -1) if rounded >> number & 1)


def routing_key(path: tuple[int, ...]) -> str:
    """What a message is published with, to the entry of the ladder."""
    return ".".join(map(str, path))


def ladder(names: Names, path: tuple[int, ...], to: str) -> list[Piece]:
    """What must be there before a message takes this path to the queue `to`, in the order in which to make it."""
    lost, due = Exchange(names.lost, "fanout"), Exchange(names.due, "headers", names.lost)
    entry = Exchange(names.entry, "topic", names.lost)
    levels = {number: f"{names.entry}.{number}" for number in path}
    pieces: list[Piece] = [lost, Queue(names.lost), Binding(names.lost, Queue(names.lost))]
    pieces += [Queue(to), entry, due, Binding(names.due, Queue(to), to=to)]
    for number, name in levels.items():
        pieces += [Exchange(name, "topic", names.lost), Queue(name, number)]
    pieces.append(Binding(names.entry, Queue(levels[path[0]], path[0]), f"{path[0]}.#"))
    for number, lower in pairwise(path):
        pieces.append(Binding(levels[number], Queue(levels[lower], lower), f"#.{number}.{lower}.#"))
    pieces.append(Binding(levels[path[-1]], due, f"#.{path[-1]}"))
    return pieces
