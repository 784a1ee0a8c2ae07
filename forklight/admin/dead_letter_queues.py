"""The dead letter queues of the configured triggers: list, replay, purge. This module does the I/O with the stores;
decisions are in `dead_letters.py`."""

import time
from collections.abc import AsyncIterator, Collection, Iterator, Sequence

from msgspec import Struct

from bus.bus import Bus
from bus.message import REASON, RESERVED, UNDELIVERED, dead_queue
from bus.store import Store, Stored
from forklight.admin.dead_letters import DeadLetter, LetterError, Search, Shown, belongs, dead_letter, replayed, shown
from forklight.config.hint import did_you_mean
from forklight.observe.queue_status import Place, dead_letter_queues, written
from triggers.queue.settings import QueueTrigger

FIRST_PAGE, LARGEST_PAGE = 1000, 8000
"""Letters read in one step. A broker shows the oldest ones again in each step, so steps grow."""
ROUND = 1000
ROUND_BYTES = 32 * 1024 * 1024
"""Bounds of one step of a replay or purge. In the embedded store it is a transaction, during which others wait."""


class Selection(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The dead letters with these ids or keys, in `queue` if given; else all of `queue`; else all.

    `queue` is the queue they lie in or came from.
    """

    ids: tuple[str, ...] = ()
    queue: str | None = None
    all: bool = False

    def __post_init__(self) -> None:
        if self.all == bool(self.ids or self.queue is not None):
            raise ValueError("say which: ids, a queue, or all")


class Moved(Struct, frozen=True, kw_only=True):
    """How many were replayed or removed, and how many were left because they do not name their origin."""

    moved: int
    left: int = 0


class DeadLetterQueues:
    """Every method raises StoreError, and LetterError for the name of a letter or queue that does not exist."""

    def __init__(self, bus: Bus, triggers: Sequence[QueueTrigger], strays: Sequence[Place] = ()) -> None:
        """`strays`: queues that no function consumes, which may contain dead letters too."""
        self._bus = bus
        self._triggers = triggers
        self._strays = strays

    async def letters(self, queue: str | None = None, limit: int = FIRST_PAGE, skip: int = 0) -> list[DeadLetter]:
        """Return the oldest `limit` letters after the first `skip`: of all queues, one after the other, or only letters
        that lie in `queue` or came from it."""
        found: list[DeadLetter] = []
        async for place, stored in self._walk(queue):
            letter = dead_letter(place, stored)
            if queue is None or belongs(letter, queue):
                found.append(letter)
            if len(found) == skip + limit:
                break
        self._check_known(queue, has_any=bool(found))
        return found[skip:]

    async def show(self, name: str, queue: str | None = None) -> Shown:
        """Return the letter with this id or key, or the only one whose id begins with it."""
        [(place, stored)] = await self._find([name], queue)
        fetched = await self._store(place).fetch(place[1], stored.key)
        if fetched is None:
            raise LetterError(f"{name!r} has just been taken from its queue")
        return shown(place, fetched)

    async def replay(self, selection: Selection) -> Moved:
        """Send letters back to their queues, with attempts counted anew. Embedded, each step is one transaction."""
        if not selection.ids:
            return await self._move_all(selection.queue, replays=True)
        found = await self._find(selection.ids, selection.queue)
        for place, stored in found:
            if replayed(place, stored) is None:
                raise LetterError(f"{dead_letter(place, stored).id} does not say which queue it came from")
        return Moved(moved=await self._take_out(found, replays=True))

    async def purge(self, selection: Selection) -> Moved:
        """Delete letters."""
        if not selection.ids:
            return await self._move_all(selection.queue, replays=False)
        return Moved(moved=await self._take_out(await self._find(selection.ids, selection.queue), replays=False))

    async def _move_all(self, queue: str | None, *, replays: bool) -> Moved:
        moved = left = 0
        for place in self._places(queue):
            if not replays and queue in (None, written(place)) and place not in self._strays:
                moved += await self._store(place).take_out(place[1], None)
                continue
            count, behind = await self._move(place, queue, replays=replays)
            moved, left = moved + count, left + behind
        self._check_known(queue, has_any=moved + left > 0)
        return Moved(moved=moved, left=left)

    async def _move(self, place: Place, queue: str | None, *, replays: bool) -> tuple[int, int]:
        """Move the letters that are there at the start: a replayed one may die again meanwhile, and come back."""
        started_s, moved, passed = time.time(), 0, 0
        while True:
            seen = [(place, stored) for stored in await self._store(place).browse(place[1], passed + ROUND)]
            meant = [
                one
                for one in seen
                if self._is_letter(*one, queue)
                and (queue is None or belongs(dead_letter(*one), queue))
                and (dead_letter(*one).died_at_s or 0) < started_s
            ]
            ready = [one for one in meant if not replays or replayed(*one) is not None]
            moved += await self._take_out(ready, replays=replays)
            if len(seen) < passed + ROUND:
                return moved, len(meant) - len(ready)
            passed = len(seen) - len(ready)  # these stay, so the next step begins behind them

    async def _take_out(self, letters: Sequence[tuple[Place, Stored]], *, replays: bool) -> int:
        """Delete the letters or send them back. Return how many were still there."""
        moved = 0
        for part in _parts(letters):
            place = part[0][0]
            into = {stored.key: replayed(place, stored) for _, stored in part} if replays else {}
            sent = {key: one for key, one in into.items() if one is not None}
            moved += await self._store(place).take_out(place[1], [stored.key for _, stored in part], sent)
        return moved

    async def _find(self, names: Collection[str], queue: str | None) -> list[tuple[Place, Stored]]:
        search, has_any = Search(names), False
        async for place, stored in self._walk(queue, waiting=True):
            if queue is None or belongs(dead_letter(place, stored), queue):
                search.look_at(place, stored)
                has_any = True
        self._check_known(queue, has_any=has_any)
        return search.found()

    async def _walk(self, queue: str | None, *, waiting: bool = False) -> AsyncIterator[tuple[Place, Stored]]:
        """Yield all letters, without bodies, of the places where those of `queue` can lie.

        With `waiting` also the messages that wait in our queues for a function which is not here.
        """
        for place in self._places(queue):
            size, passed = FIRST_PAGE, 0
            while page := await self._store(place).browse(place[1], size, passed):
                for stored in page:
                    if (waiting and place[1].startswith(RESERVED)) or self._is_letter(place, stored, queue):
                        yield place, stored
                if len(page) < size:
                    break
                passed, size = passed + size, min(LARGEST_PAGE, size * 2)

    def _is_letter(self, place: Place, stored: Stored, queue: str | None) -> bool:
        """Of a queue that no function consumes, only messages with a reason count, unless dead letters lie in it.

        What waits in the inbox of a function that is not here now is no letter, unless `queue` names that inbox.
        """
        if place not in self._strays or REASON in stored.message.headers:
            return True
        if place[1] == UNDELIVERED or place[1].startswith(dead_queue("")):
            return True
        return place[1].startswith(RESERVED) and queue == written(place)

    def _places(self, queue: str | None) -> list[Place]:
        """Return the places where letters of `queue` can lie."""
        mine = dead_letter_queues(one for one in self._triggers if queue is None or queue in _names(one))
        return [*mine, *self._strays]

    def _check_known(self, queue: str | None, *, has_any: bool) -> None:
        """Raise LetterError if there is nothing of a queue whose name can only be a mistake."""
        names = {name for one in self._triggers for name in _names(one)} | {written(place) for place in self._strays}
        if queue is not None and not has_any and queue not in names:
            raise LetterError(f"no function here has dead letters of {queue!r}{did_you_mean(queue, names)}")

    def _store(self, place: Place) -> Store:
        return self._bus.store(place[0])


def _names(trigger: QueueTrigger) -> tuple[str, ...]:
    """The queues by whose names its dead letters are asked for."""
    return tuple(written((trigger.broker, name)) for name in (trigger.queue, trigger.dead_letter, UNDELIVERED))


def _parts(letters: Sequence[tuple[Place, Stored]]) -> Iterator[list[tuple[Place, Stored]]]:
    """Split letters into steps of one place each, within the bounds of a step."""
    part: list[tuple[Place, Stored]] = []
    sum_bytes = 0
    for one in sorted(letters, key=lambda one: one[0]):
        if part and (part[0][0] != one[0] or len(part) == ROUND or sum_bytes >= ROUND_BYTES):
            yield part
            part, sum_bytes = [], 0
        part.append(one)
        sum_bytes += one[1].size_bytes
    if part:
        yield part
