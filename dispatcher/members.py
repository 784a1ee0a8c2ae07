"""The instances of one pool, by what they are doing now. Pure.

An instance is in exactly one of these states; the I/O around the pool learns of every change of state by an action.

- spare: ready, and has run no event yet
- idle: has run events, and runs none now
- kept: the same, for further events of its key only
- busy: runs at least one; *open* if it has a free slot, *closed* if it will get no further event
- leaving: was asked to end, and has not died yet

One that is *outdated*, from before the last renewal, is busy or leaving. It counts towards no limit while it leaves.
"""

from collections import OrderedDict
from collections.abc import Set
from typing import Generic

from dispatcher.actions import Member


class Members(Generic[Member]):
    """Times are CLOCK_MONOTONIC nanoseconds."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._spares: OrderedDict[Member, int] = OrderedDict()
        """when each became ready, the latest last"""
        self._idle: OrderedDict[Member, int] = OrderedDict()
        """when each became idle, the most recently used last"""
        self._kept: OrderedDict[Member, int] = OrderedDict()
        """when each became idle, the most recently used last"""
        self._busy: dict[Member, int] = {}
        """how many calls each runs"""
        self._open: dict[Member, None] = {}
        """the busy ones with a free slot, the one that was full last at the end; never any with one slot"""
        self._closed: set[Member] = set()
        self._leaving: set[Member] = set()
        self._outdated: set[Member] = set()
        self._starting = 0

    def take(self) -> Member | None:
        """Take a free slot of an instance that has run events, and return the instance, or None.

        This is the warm path. An event that gets None is to `wait`, which finds it a spare if there is one.
        """
        if self._open:
            return self._take_open()
        if not self._idle:
            return None
        member, _ = self._idle.popitem()
        self._busy[member] = 1
        if self._slots > 1:
            self._open[member] = None
        return member

    def _take_open(self) -> Member:
        member = next(reversed(self._open))
        calls = self._busy[member] = self._busy[member] + 1
        if calls == self._slots:
            del self._open[member]
        return member

    @property
    def has_free_slot(self) -> bool:
        """Whether `take` would return an instance."""
        return bool(self._idle or self._open)

    def close(self, member: Member) -> None:
        """A busy or spare instance takes no more events and ends after its open calls.

        It has begun its last one, or it is gone and its death is about to be reported.
        """
        if self._spares.pop(member, None) is not None:
            self._busy[member] = 0
        self._closed.add(member)
        self._open.pop(member, None)

    def is_leaving(self, member: Member) -> bool:
        """Whether the pool asked for its end."""
        return member in self._leaving or member in self._outdated

    def calls(self) -> dict[Member, int]:
        """How many calls each busy instance runs."""
        return dict(self._busy)

    def members(self) -> list[Member]:
        """Every live instance."""
        return [*self._spares, *self._idle, *self._kept, *self._busy, *self._going()]

    def spares(self) -> list[Member]:
        """The instances that have run no event, the one that became ready last at the end."""
        return list(self._spares)

    def _serving(self) -> Set[Member]:
        """Busy instances of this version."""
        return self._busy.keys() - self._outdated if self._outdated else self._busy.keys()

    def _going(self) -> Set[Member]:
        """Instances that are ending and not busy."""
        return self._leaving | (self._outdated - self._busy.keys()) if self._outdated else self._leaving

    def _used(self) -> int:
        """The instances that count towards `max_instances` because they have served."""
        return len(self._idle) + len(self._kept) + len(self._busy) + len(self._leaving)

    def _living(self) -> int:
        """Every instance, and every start under way, that counts towards a limit."""
        return self._used() + len(self._spares) + self._starting

    def _forget(self, member: Member) -> None:
        """It is dead, in whichever state."""
        self._spares.pop(member, None)
        self._idle.pop(member, None)
        self._kept.pop(member, None)
        self._busy.pop(member, None)
        self._open.pop(member, None)
        self._closed.discard(member)
        self._leaving.discard(member)
        self._outdated.discard(member)
