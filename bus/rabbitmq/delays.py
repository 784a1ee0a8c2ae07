"""Delays on RabbitMQ: a ladder of queues whose messages expire, one for each power of two. Pure.

RabbitMQ expires messages only at the head of a queue, so all messages of a queue must have the same delay. A longer
delay is a path down a ladder of queues. For 5.12 s it has the levels 12 and 10 (4096 ms + 1024 ms): the message waits
first in `forklight.delay.12`, whose messages expire after 4096 ms, then in `forklight.delay.10`. Its routing key is the
path, `12.10`. Messages that expire on level 12 go to the topic exchange `forklight.delay.12`, whose binding `#.12.10.#`
leads to the next queue. The last exchange's binding `#.10` leads to the headers exchange `forklight.due`, which finds
the target queue by the header `forklight-to`. RabbitMQ does all of this alone, even while no node of ours runs. A path
only goes down, because RabbitMQ drops a message that returns to a queue, as a cycle. (All these names contain the
application's: `forklight.shop.delay.12`.)

Only the highest bits of a delay count, rounded up: this takes few steps and few bindings, and is late by at most 3 %
(and 16 ms). All queues dead-letter at least once, and RabbitMQ routes only a few (32) messages of a queue at a time.
Unroutable messages would block all others, so every exchange has an alternate exchange, `forklight.lost`, which leads
to a queue for them.
"""

import math
from itertools import pairwise
from typing import Any

from msgspec import Struct

from bus.declaration import PLAIN, Declaration
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
"""Dead-lettering without loss. RabbitMQ supports it for quorum queues only, and requires both arguments."""


class Exchange(Struct, frozen=True):
    name: str
    kind: str
    alternate: str = ""
    """The exchange that gets the messages this one cannot route."""


class Queue(Struct, frozen=True):
    """A queue of the ladder is a quorum queue, whatever the declaration of other queues says."""

    name: str
    level: int | None = None
    """Its level in the ladder; None for any other queue, which is made only if it is missing."""

    def arguments(self, declaration: Declaration = PLAIN, major_version: int = 0) -> dict[str, Any]:
        """Return the arguments of its declaration on a broker of this version."""
        if self.level is None:
            return declaration.whole(major_version)
        own = {"x-message-ttl": 1 << self.level, "x-dead-letter-exchange": self.name}
        return PLAIN.whole(major_version) | AT_LEAST_ONCE | own


class Binding(Struct, frozen=True):
    source: str
    target: Exchange | Queue
    key: str = ""
    to: str = ""
    """The value of `forklight-to` to match."""


Piece = Exchange | Queue | Binding


def steps(delay_s: float) -> tuple[int, ...]:
    """Return the levels to pass, highest first; none for no delay. Raises ValueError for one over `LONGEST_S`."""
    if delay_s > LONGEST_S:
        raise ValueError(f"a delay of {delay_s:g} s is too long: RabbitMQ can delay for at most {LONGEST_S:.0f} s")
    milliseconds = math.ceil(delay_s * 1000)
    if milliseconds <= 0:
        return ()
    unit = 1 << max(LOWEST, milliseconds.bit_length() - _BITS)
    rounded = -(-milliseconds // unit) * unit
    return tuple(number for number in range(HIGHEST, LOWEST - 1, -1) if rounded >> number & 1)


def routing_key(path: tuple[int, ...]) -> str:
    """Return the routing key with which to publish to the entry of the ladder."""
    return ".".join(map(str, path))


def ladder(names: Names, path: tuple[int, ...], to: str) -> list[Piece]:
    """Return what must exist before a message takes this path to the queue `to`, in the order of creation."""
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
