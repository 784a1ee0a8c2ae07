"""What the pools of one function's versions may have together: no more instances than one of them alone. Pure.

Theory of operation. Each pool may have what the others leave of the `max_instances` of the version that serves, so the
sum never exceeds it, and an idle version costs the busy one nothing for longer than it takes to end an instance. A pool
with events that wait, and nothing left to start, takes from the others: first what is idle beyond their reserved
instances, or any idle one if it has no instance itself; and once its first event has waited for `PATIENCE_NS`, one of a
pool that has more than itself, after the calls that it runs. With `max_instances = 1`, two versions that are both busy
take turns of that length.
"""

from collections.abc import Iterable
from typing import Generic, Protocol, TypeVar

Member = TypeVar("Member")

PATIENCE_NS = 1_000_000_000
"""The same as that of a key that waits for an instance (`bindings.py`)."""


class Sharing(Protocol[Member]):
    """A pool, as the others see it."""

    def living(self) -> int:
        """Every instance, and every start under way, that counts towards the limit."""

    def taken(self) -> int:
        """Those of them that nobody else could have now: they run something, or are ending."""

    def ending(self) -> int:
        """How many of them end without being asked: now, or after the calls that they run."""

    def lacking(self, now_ns: int) -> int:
        """How many instances more the waiting events would have now if the others had none."""

    def has_waiting(self) -> bool:
        """Whether an event waits."""

    def oldest_wait_ns(self) -> int:
        """When the first of the events that wait was accepted; there must be one."""

    def dispensable(self, now_ns: int) -> dict[Member, int]:
        """The instances that could go at once, those with most reason to go first."""

    def surplus(self) -> int:
        """How many instances it has beyond its reserved ones."""

    def serving(self) -> list[Member]:
        """The busy instances that will get further events."""


class Joint(Generic[Member]):
    """The limit that some pools share."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._pools: list[Sharing[Member]] = []
        self._promise: tuple[Sharing[Member], int] | None = None
        """A pool for which others give up instances, and how many it is to have: nobody else takes their room."""

    def set_pools(self, pools: Iterable[Sharing[Member]]) -> None:
        """From now on these pools share it."""
        self._pools = list(pools)

    def left_for(self, pool: Sharing[Member]) -> int:
        """Return how many instances this pool may have."""
        taken = sum(one.living() for one in self._pools if one is not pool)
        return max(0, self.most - taken - self._promised_besides(pool))

    def _promised_besides(self, pool: Sharing[Member]) -> int:
        """Return how many instances were promised to another pool, and have not started."""
        if self._promise is None:
            return 0
        promised, count = self._promise
        missing = count - promised.living()
        if missing <= 0 or not promised.has_waiting() or promised not in self._pools:
            self._promise = None
            return 0
        return 0 if promised is pool else missing

    def reachable_for(self, pool: Sharing[Member]) -> int:
        """Return how many it could have if the others gave up all that is idle."""
        return max(0, self.most - sum(one.taken() for one in self._pools if one is not pool))

    def has_room(self) -> bool:
        """Whether any pool may start an instance."""
        return sum(one.living() for one in self._pools) < self.most

    def given_up(self, now_ns: int) -> list[tuple[Sharing[Member], Member]]:
        """Return the instances that are to end so that others can start, each with its pool."""
        if self.has_room():
            return []
        soon = sum(one.ending() for one in self._pools)
        for needy, lacking in self._needy(now_ns):
            found = self._idle_for(needy, lacking - soon, now_ns) if lacking > soon else []
            if not found and not soon:
                found = self._busy_for(needy, now_ns)
            if found:
                self._promise = needy, needy.living() + len(found)
                return found
        return []

    def _needy(self, now_ns: int) -> list[tuple[Sharing[Member], int]]:
        """The pools that lack instances, and how many: the one whose first event has waited longest, first."""
        found = [(one, lacking) for one in self._pools if (lacking := one.lacking(now_ns)) > 0]
        return sorted(found, key=lambda pair: pair[0].oldest_wait_ns())

    def _idle_for(self, needy: Sharing[Member], wanted: int, now_ns: int) -> list[tuple[Sharing[Member], Member]]:
        found: list[tuple[Sharing[Member], Member]] = []
        for other in self._others(needy):
            most = max(other.surplus(), int(needy.living() == 0 and not found))
            found += [(other, member) for member in list(other.dispensable(now_ns))[:most]]
        return found[:wanted]

    def _busy_for(self, needy: Sharing[Member], now_ns: int) -> list[tuple[Sharing[Member], Member]]:
        if needy.oldest_wait_ns() > now_ns - PATIENCE_NS:
            return []
        for other in self._others(needy):
            if other.living() > needy.living() and (serving := other.serving()):
                return [(other, serving[0])]
        return []

    def _others(self, needy: Sharing[Member]) -> list[Sharing[Member]]:
        """The other pools, the one with the most instances first."""
        others = (one for one in self._pools if one is not needy)
        return sorted(others, key=lambda one: one.living(), reverse=True)
