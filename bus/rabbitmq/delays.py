"""Delays on RabbitMQ: a ladder of queues whose messages expire, one for each power of two. Pure.

RabbitMQ expires messages at the head of a queue only, so that one queue can hold only one delay. A message climbs down
the ladder instead: a delay of 5.12 s is the levels 12 and 10 (4096 ms + 1024 ms), and it lies first in
`forklight.delay.12`, whose messages expire after 4096 ms, then in `forklight.delay.10`. Its routing key is the path,
`12.10`. What expires on level 12 goes to the topic exchange `forklight.delay.12`, whose binding `#.12.10.#` leads to
the next queue; the last one's binding `#.10` leads to the headers exchange `forklight.due`, which finds the queue that
the message is for by its header `forklight-to`. RabbitMQ does all of it by itself: no node of ours need be alive. A
path goes only downwards, so that none meets a queue twice, which RabbitMQ would take for a cycle and drop the message.

Only the highest bits of a delay count, rounded up: few steps, few bindings, and at most 3 % (and 16 ms) too late. All
queues dead-letter at least once: what cannot be routed when it is due, because its queue was deleted, waits.
"""

import math
from itertools import pairwise
from typing import Any

from msgspec import Struct

LOWEST = 4
HIGHEST = 31
"""RabbitMQ's longest expiration is 2^32 - 1 ms."""
LONGEST_S = 2.0 ** (HIGHEST + 1) / 1000 * 0.96
"""About 47 days."""
_BITS = 6
TO = "forklight-to"
"""The header of a delayed message that names the queue it is for."""
ENTRY = "forklight.delay"
DUE = "forklight.due"
AT_LEAST_ONCE = {"x-dead-letter-strategy": "at-least-once", "x-overflow": "reject-publish"}
"""What keeps dead-lettering from losing messages. RabbitMQ has it for quorum queues, and only with both."""


class Exchange(Struct, frozen=True):
    name: str
    kind: str


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
        return found | AT_LEAST_ONCE | {"x-message-ttl": 1 << self.level, "x-dead-letter-exchange": level(self.level)}


class Binding(Struct, frozen=True):
    source: str
    target: Exchange | Queue
    key: str = ""
    to: str = ""
    """The value of `forklight-to` that it wants."""


Piece = Exchange | Queue | Binding


def level(number: int) -> str:
    """The queue whose messages expire after 2^number ms, and the exchange that they go to then."""
    return f"{ENTRY}.{number}"


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
    """What a message is published with, to the exchange `forklight.delay`."""
    return ".".join(map(str, path))


def ladder(path: tuple[int, ...], to: str) -> list[Piece]:
    """What must be there before a message takes this path to the queue `to`, in the order in which to make it."""
    entry, due = Exchange(ENTRY, "topic"), Exchange(DUE, "headers")
    pieces: list[Piece] = [Queue(to), entry, due, Binding(DUE, Queue(to), to=to)]
    for number in path:
        pieces += [Exchange(level(number), "topic"), Queue(level(number), number)]
    pieces.append(Binding(ENTRY, Queue(level(path[0]), path[0]), f"{path[0]}.#"))
    for number, lower in pairwise(path):
        pieces.append(Binding(level(number), Queue(level(lower), lower), f"#.{number}.{lower}.#"))
    pieces.append(Binding(level(path[-1]), due, f"#.{path[-1]}"))
    return pieces
