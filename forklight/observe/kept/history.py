"""What is remembered: in the memory of this server, and in the files that it and earlier ones have written."""

import logging
from collections.abc import AsyncIterator

import anyio.to_thread

from forklight.observe.entry import Entry, Selection
from forklight.observe.journal import Journal
from forklight.observe.kept.keeper import Keeper
from forklight.observe.kept.merge import Merge, Tail

log = logging.getLogger(__name__)


class History:
    """`keeper` is None if the configuration keeps no log: then there is only the memory."""

    def __init__(self, journal: Journal, keeper: Keeper | None) -> None:
        self._journal = journal
        self._keeper = keeper

    async def read(self, selection: Selection) -> AsyncIterator[list[Entry]]:
        """Yield the entries of a selection up to this moment, oldest first, in pieces.

        Between those of two servers is one that says `started`. If the files cannot be read, the log says why.
        """
        held, keeper = self._journal.numbered(selection), self._keeper
        if keeper is None:
            yield [entry for _, entry in held]
            return
        pending = [(number, entry) for number, entry in keeper.pending() if selection.has(entry)]
        ours = sorted((dict(held) | dict(pending)).items())
        merge = Merge(keeper.files.started, ours, self._journal.count)
        pieces = keeper.files.read(selection)
        try:
            while (found := await anyio.to_thread.run_sync(next, pieces, None)) is not None:
                yield merge.feed(found)
        except OSError as error:
            log.error("the kept log cannot be read: %s", error)
        yield merge.end()

    async def last(self, selection: Selection, count: int) -> list[Entry]:
        """Return the last `count` entries of a selection."""
        tail = Tail(count)
        async for piece in self.read(selection):
            tail.feed(piece)
        return list(tail.entries)

    async def all(self, selection: Selection) -> list[Entry]:
        """Return all entries of a selection: of one invocation, or few others."""
        return [entry async for piece in self.read(selection) for entry in piece]
