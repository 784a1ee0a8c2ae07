"""Queues of version 0.1, whose names did not contain the application's: reported, and adopted if configured so.

An old inbox may belong to any application on the virtual host with a function of this name. So messages are moved only
if `[bus] adopt` says that they are this application's. The old ladder of delays still leads to the old queues, so
messages are moved as long as the server runs.
"""

import logging

import anyio
from pamqp.commands import Basic

from bus.message import dead_queue
from bus.rabbitmq.letters import Letter, arrived_copy
from bus.rabbitmq.link import ANSWER_LIMIT_S, Link, store_errors
from bus.rabbitmq.publisher import Parcel, Publisher
from bus.rabbitmq.topology import Topology
from bus.store import Source, StoreError

log = logging.getLogger(__name__)

_AGAIN_S = 15.0


class OldQueues:
    """Run `attend` in a task for each consumed source."""

    def __init__(self, link: Link, topology: Topology, publisher: Publisher, *, adopts: bool) -> None:
        self._link = link
        self._topology = topology
        self._publisher = publisher
        self._adopts = adopts
        self._reported: set[str] = set()
        self._attended: set[Source] = set()

    async def attend(self, source: Source) -> None:
        """Log the old queues of this function; or, if configured, move their messages until cancelled."""
        moves = {} if source in self._attended else self._moves(source)
        self._attended.add(source)
        while moves:
            try:
                moves = {old: new for old, new in moves.items() if await self._look(old, new)}
            except StoreError as error:
                log.debug("queues of version 0.1 will be checked later: %s", error)
            if moves:
                await anyio.sleep(_AGAIN_S)

    def _moves(self, source: Source) -> dict[str, str]:
        """Return the new queue of each old one."""
        names, function = self._topology.names, source.function
        found = {f"forklight.retry.{function}.{source.queue}": names.retry(function, source.queue)}
        for name in (source.queue, dead_queue(function)):
            if names.queue(name) != name:
                found[name] = names.queue(name)
        return found

    async def _look(self, old: str, new: str) -> bool:
        """Report or empty an old queue. Return whether to look again. Raises StoreError."""
        found = await self._topology.look_up(old)
        if found is None:
            return False
        if self._adopts:
            if found.message_count:
                log.warning(
                    "%s: moved %d messages from %r to %r", self._link.place, await self._move(old, new), old, new
                )
            return True
        if old not in self._reported:
            self._reported.add(old)
            log.warning(
                "%s: the queue %r was made by Forklight 0.1, and nothing consumes it any more; it has %d messages. If "
                "they belong to this application, set [bus] adopt = true, which moves them to %r; otherwise leave them "
                "to their owner. Delete the queue when it is no longer needed",
                *(self._link.place, old, found.message_count or 0, new),
            )
        return False

    async def _move(self, old: str, new: str) -> int:
        moved = 0
        with store_errors(f"{self._link.place}: cannot empty the queue {old!r}"):
            async with self._link.channel() as channel:
                while True:
                    taken = await channel.basic_get(old, timeout=ANSWER_LIMIT_S)
                    if isinstance(taken.delivery, Basic.GetEmpty) or taken.delivery_tag is None:
                        return moved
                    letter: Letter = arrived_copy(taken.header.properties, taken.body)
                    [error] = await self._publisher.publish([Parcel(new, letter)])
                    if error is not None:
                        raise error
                    await channel.basic_ack(taken.delivery_tag)
                    moved += 1
