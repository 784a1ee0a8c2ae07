"""The connections for consumers' channels: one, and more where the broker allows only a few channels for each."""

import contextlib
from collections import Counter
from collections.abc import AsyncIterator

from anyio.abc import TaskGroup

from bus.rabbitmq.address import Address
from bus.rabbitmq.link import Link

_FOR_QUESTIONS = 6
"""Channels of the first connection for other uses: the claim, lookups, browsing, undelivered messages."""
_FOR_ITSELF = 1
"""A channel of each other connection, to check whether the connection is alive."""


class Links:
    """The caller connects `first` and runs it."""

    def __init__(self, address: Address, first: Link, tasks: TaskGroup) -> None:
        self.first = first
        self._address = address
        self._links = [first]
        self._tasks = tasks
        self._consumers: Counter[Link] = Counter()

    @property
    def are_up(self) -> bool:
        return all(link.is_up for link in self._links)

    @contextlib.asynccontextmanager
    async def place(self) -> AsyncIterator[Link]:
        """Reserve room for a channel on a connection during the block.

        Raises StoreError if this needs another connection and the broker refuses it.
        """
        link = next(filter(self._has_room, self._links), None) or await self._another()
        self._consumers[link] += 1
        try:
            yield link
        finally:
            self._consumers[link] -= 1

    def _has_room(self, link: Link) -> bool:
        kept = _FOR_QUESTIONS if link is self.first else _FOR_ITSELF
        return self._consumers[link] < link.most_channels - kept

    async def _another(self) -> Link:
        link = Link(self._address, "consumes")
        await link.connect()
        self._tasks.start_soon(link.run)
        self._links.append(link)
        return link
