"""What makes room on a full machine: which idle instances end, and which busy ones after their calls. Pure.

It reads the budget, changes nothing in it but its promises, and returns what has to end. `budget.py` has the theory.
"""

from collections.abc import Iterable
from typing import Generic

from msgspec import Struct

from dispatcher.actions import Member
from dispatcher.budget import Budget, Owner

TURN_NS = 500_000_000
"""How long an instance keeps its room at least while others wait: `python -m benchmarks.budget` measures what handing
it on costs. With turns of half the length, functions that are done in 0.1 ms lost a third of their throughput."""
TURN_STARTS = 10
"""A turn lasts at least so many times as long as the start did: starts take a tenth of the time at most."""
LONGEST_TURN_NS = 5_000_000_000
SETTLED_NS = 10_000_000
"""An instance that has been idle so long, and as long as a start takes, has ended its turn: keeping it would have cost
more than it could save."""


class Idle(Struct, Generic[Member], frozen=True):
    """An instance that could go at once."""

    member: Member
    uses: int
    """calls that it has run"""
    since_ns: int
    """idle since"""


class Holder(Struct, Generic[Owner, Member], frozen=True, kw_only=True):
    """What a function has that could make room. Instances that end already are left out."""

    owner: Owner
    surplus: int
    """how many of them may go"""
    start_cost_s: float
    idle: list[Idle[Member]]
    busy: list[Member]


class Relief(Struct, Generic[Owner, Member], frozen=True, kw_only=True):
    """What has to end, each with its function, so that a function that waits gets room."""

    evicted: list[tuple[Owner, Member]]
    """idle instances, which leave now"""
    given_up: list[tuple[Owner, Member]]
    """busy instances, which leave after their calls"""
    again_ns: int | None
    """when to ask again at the latest, because only time has to pass"""


def value(uses: int, start_cost_s: float, size_bytes: int) -> float:
    """Return what an idle instance is worth per byte: how often it saved a start, and how long that takes."""
    return uses * start_cost_s / size_bytes


def relieve(
    budget: Budget[Owner, Member], holders: Iterable[Holder[Owner, Member]], now_ns: int
) -> Relief[Owner, Member]:
    """Decide which instances make room for the functions that wait, in their order, or for the growth of others."""
    budget.forget_promises(now_ns)
    search = _Search(budget, holders, now_ns)
    search.end_growth()
    stranded = set()
    for owner in budget.waiting():
        if search.find_room(owner):
            continue
        if search.again_ns is not None or budget.has_promises:  # time will bring room for it, so nobody overtakes it
            break
        stranded.add(owner)
    budget.strand(stranded)
    moments = [at_ns for at_ns in (search.again_ns, budget.changes_ns(now_ns)) if at_ns is not None]
    return Relief(evicted=search.evicted, given_up=search.given_up, again_ns=min(moments, default=None))


def turn_ns(start_cost_s: float) -> int:
    """Return how long an instance keeps its room while it is busy and others wait."""
    return max(TURN_NS, min(LONGEST_TURN_NS, int(TURN_STARTS * start_cost_s * 1e9)))


class _Search(Generic[Owner, Member]):
    """One search for room. What it chooses counts as promised at once."""

    def __init__(self, budget: Budget[Owner, Member], holders: Iterable[Holder[Owner, Member]], now_ns: int) -> None:
        self._budget = budget
        self._now_ns = now_ns
        self._holders = {holder.owner: holder for holder in holders}
        self._surplus = {owner: holder.surplus for owner, holder in self._holders.items()}
        self.free_bytes, self.free_places = budget.room()
        self.evicted: list[tuple[Owner, Member]] = []
        self.given_up: list[tuple[Owner, Member]] = []
        self.again_ns: int | None = None

    def end_growth(self) -> None:
        """End idle instances while the budget is exceeded."""
        while self.free_bytes is not None and self.free_bytes < 0 and self._evict(None):
            pass

    def find_room(self, owner: Owner) -> bool:
        """Find room for one start of the function. Return False if there is none, so nobody behind it gets any."""
        if self._budget.waits_for_turn(owner, self._now_ns):
            return True
        need_bytes = self._budget.estimate_bytes(owner)
        while not self._fits(need_bytes):
            if not (self._evict(owner) or self._take_over(owner)):
                return False
        self.free_bytes = None if self.free_bytes is None else self.free_bytes - need_bytes
        self.free_places = None if self.free_places is None else self.free_places - 1
        return True

    def _fits(self, need_bytes: int) -> bool:
        has_place = self.free_places is None or self.free_places > 0
        return has_place and (self.free_bytes is None or self.free_bytes >= need_bytes)

    def _evict(self, for_owner: Owner | None) -> bool:
        """Choose the idle instance with the least value."""
        candidates: list[tuple[float, int, int, Owner, Member]] = []
        for owner, holder in self._holders.items():
            if owner == for_owner or self._surplus[owner] <= 0:
                continue
            for idle in holder.idle:
                if self._budget.is_promised(idle.member) or not self._is_settled(idle, holder, for_owner):
                    continue
                worth = value(idle.uses, holder.start_cost_s, self._budget.size_bytes(idle.member))
                candidates.append((worth, idle.since_ns, len(candidates), owner, idle.member))
        if not candidates:
            return False
        *_, owner, member = min(candidates)
        self.evicted.append((owner, member))
        self._promise(owner, member)
        return True

    def _is_settled(self, idle: Idle[Member], holder: Holder[Owner, Member], for_owner: Owner | None) -> bool:
        """Whether it may go: its turn is over, it has been idle for a while, or it has never run anything."""
        if idle.uses == 0 or for_owner is None:
            return True
        turn_ends_ns = self._turn_ends_ns(idle.member, holder)
        settled_ns = idle.since_ns + max(SETTLED_NS, int(holder.start_cost_s * 1e9))
        return self._is_due(min(settled_ns, turn_ends_ns))

    def _take_over(self, for_owner: Owner) -> bool:
        """Have the function that has most give up the busy instance whose turn began first."""
        excess = self._budget.excess
        least = 1 if self._budget.is_empty(for_owner) else excess(for_owner) + 2
        givers = [one for one in self._holders.values() if one.owner != for_owner and self._surplus[one.owner] > 0]
        for holder in sorted(givers, key=lambda one: -excess(one.owner)):
            if excess(holder.owner) < least:
                return False
            ends_ns = {
                member: self._turn_ends_ns(member, holder)
                for member in holder.busy
                if not self._budget.is_promised(member)
            }
            member = min(ends_ns, key=lambda one: ends_ns[one], default=None)
            if member is not None and self._is_due(ends_ns[member]):
                self.given_up.append((holder.owner, member))
                self._promise(holder.owner, member)
                return True
        return False

    def _is_due(self, at_ns: int) -> bool:
        if at_ns <= self._now_ns:
            return True
        self.again_ns = at_ns if self.again_ns is None else min(self.again_ns, at_ns)
        return False

    def _promise(self, owner: Owner, member: Member) -> None:
        self._surplus[owner] -= 1
        self._budget.promise(member, self._now_ns)
        if self.free_bytes is not None:
            self.free_bytes += self._budget.size_bytes(member)
        if self.free_places is not None:
            self.free_places += 1

    def _turn_ends_ns(self, member: Member, holder: Holder[Owner, Member]) -> int:
        return self._budget.since_ns(member) + turn_ns(holder.start_cost_s)
