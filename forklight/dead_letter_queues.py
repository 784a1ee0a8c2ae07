"""The dead letter queues of the configured triggers: looked into, replayed from, emptied. What is decided is in
`dead_letters`; here their stores are asked."""

import time
from collections.abc import Callable, Container, Sequence

from msgspec import Struct

from bus.bus import Bus
from bus.store import Store, Stored
from forklight.dead_letters import DeadLetter, LetterError, Shown, belongs, dead_letter, find, replayed, shown
from forklight.hint import did_you_mean
from forklight.queue_status import Place, dead_letter_queues, written
from triggers.queue.settings import QueueTrigger

SEARCHED = 1000
"""In how many of a queue's oldest letters one is looked for: each is read whole, and may have a large body."""
ROUND = 100
"""How many are replayed or removed in one step."""


class Selection(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which dead letters are meant: those with these ids or keys, in `queue` if given; else all of `queue`; or all.

    `queue` is where they lie, or where they came from.
    """

    ids: tuple[str, ...] = ()
    queue: str | None = None
    all: bool = False

    def __post_init__(self) -> None:
        if self.all == bool(self.ids or self.queue is not None):
            raise ValueError("say which: ids, a queue, or all")


class Moved(Struct, frozen=True, kw_only=True):
    """How many were replayed or removed, and how many of those meant were left, because they name no origin."""

    moved: int
    left: int = 0


class DeadLetterQueues:
    """Every method raises StoreError, and LetterError for a name that means nothing here."""

    def __init__(self, bus: Bus, triggers: Sequence[QueueTrigger]) -> None:
        self._bus = bus
        self._triggers = triggers

    async def letters(self, queue: str | None = None, limit: int = SEARCHED) -> list[DeadLetter]:
        """The oldest `limit` of each queue: of all, or those that lie in `queue` or came from it."""
        return [dead_letter(place, stored) for place, stored in await self._browse(queue, limit)]

    async def show(self, name: str, queue: str | None = None) -> Shown:
        """The one with this id or key, or whose id alone begins so."""
        place, stored = await self._find(name, queue)
        return shown(place, stored)

    async def replay(self, selection: Selection) -> Moved:
        """Back to the queues they came from, attempts counted anew; embedded, each round is one transaction."""
        if not selection.ids:
            return await self._move_all(selection.queue, replays=True)
        found = [await self._find(name, selection.queue) for name in selection.ids]
        for place, stored in found:
            if replayed(place, stored) is None:
                raise LetterError(f"{dead_letter(place, stored).id} does not say which queue it came from")
        return Moved(moved=await self._take_out(found, {stored.key for _, stored in found}))

    async def purge(self, selection: Selection) -> Moved:
        """Gone for good."""
        if not selection.ids:
            return await self._move_all(selection.queue, replays=False)
        found = [await self._find(name, selection.queue) for name in selection.ids]
        return Moved(moved=await self._take_out(found, ()))

    async def _move_all(self, queue: str | None, *, replays: bool) -> Moved:
        moved = left = 0
        for place in self._places(queue):
            if not replays and queue in (None, written(place)):
                moved += await self._store(place).take_out(place[1], None)
                continue
            count, behind = await self._move(place, lambda one: queue is None or belongs(one, queue), replays=replays)
            moved, left = moved + count, left + behind
        return Moved(moved=moved, left=left)

    async def _move(self, place: Place, is_meant: Callable[[DeadLetter], bool], *, replays: bool) -> tuple[int, int]:
        """Those that lay there at first: what is replayed may die again meanwhile, and come back."""
        started_s, moved, passed = time.time(), 0, 0
        while True:
            seen = [(place, stored) for stored in await self._store(place).browse(place[1], passed + ROUND)]
            meant = [
                one for one in seen if is_meant(letter := dead_letter(*one)) and (letter.died_at_s or 0) < started_s
            ]
            ready = [one for one in meant if not replays or replayed(*one) is not None]
            if not ready and len(seen) < passed + ROUND:
                return moved, len(meant)
            moved += await self._take_out(ready, {stored.key for _, stored in ready} if replays else ())
            passed = len(seen) - len(ready)

    async def _take_out(self, letters: Sequence[tuple[Place, Stored]], replays: Container[str]) -> int:
        """Remove them, after those with a key in `replays` are stored where they came from. How many were there."""
        moved = 0
        for place in sorted({place for place, _ in letters}):
            store, mine = self._store(place), {stored.key: stored for at, stored in letters if at == place}
            outgoing = [replayed(place, stored) for key, stored in mine.items() if key in replays]
            moved += await store.take_out(place[1], list(mine), [one for one in outgoing if one is not None])
        return moved

    async def _find(self, name: str, queue: str | None) -> tuple[Place, Stored]:
        letters = {dead_letter(place, stored): (place, stored) for place, stored in await self._browse(queue, SEARCHED)}
        return letters[find(list(letters), name)]

    async def _browse(self, queue: str | None, limit: int) -> list[tuple[Place, Stored]]:
        found = []
        for place in self._places(queue):
            found += [(place, stored) for stored in await self._store(place).browse(place[1], limit)]
        return [one for one in found if queue is None or belongs(dead_letter(*one), queue)]

    def _places(self, queue: str | None) -> list[Place]:
        """Where letters of `queue` can lie. Raises LetterError."""
        if queue is None:
            return dead_letter_queues(self._triggers)
        names = {written((one.broker, name)) for one in self._triggers for name in (one.queue, one.dead_letter)}
        if queue not in names:
            raise LetterError(f"no function here has dead letters of {queue!r}{did_you_mean(queue, names)}")
        return dead_letter_queues(
            one
            for one in self._triggers
            if queue in (written((one.broker, one.queue)), written((one.broker, one.dead_letter)))
        )

    def _store(self, place: Place) -> Store:
        return self._bus.store(place[0])
