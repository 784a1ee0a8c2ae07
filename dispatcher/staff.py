"""How many instances a pool wants, now and later: what is to start, what may go, and when to look again. Pure.

Nothing here changes anything: `pool.py` acts upon the answers.
"""

from collections.abc import Iterator
from typing import Generic

from dispatcher.actions import Member
from dispatcher.announced import Announced
from dispatcher.bindings import Bindings
from dispatcher.joint import Joint
from dispatcher.line import Line, Ticket
from dispatcher.members import Members
from dispatcher.settings import PoolSettings

_LONG_AGO_NS = -(10**18)


class Staff(Members[Member], Generic[Ticket, Member]):
    """What the pool of one function has, compared with what it needs."""

    def __init__(self, settings: PoolSettings, now_ns: int) -> None:
        super().__init__(settings.slots)
        self.settings = settings
        self.joint: Joint[Member] | None = None
        """the limit that it shares with the pools of other versions of its function, if there are any"""
        self._bindings: Bindings[Ticket, Member] | None = None
        """with any `reuse` but `always`"""
        self._waiting: Line[Ticket] = Line()
        self.announced = Announced()
        """The events for which an instance with a free slot starts and is kept."""
        self._active_ns = now_ns
        self._used_ns = _LONG_AGO_NS
        """When an instance last ran an event, among those that are neither idle nor busy."""
        self._refill_ns = now_ns
        """Missing reserved instances and spares start no earlier: the back-off for instances that keep dying."""
        self._blocked_ns = now_ns
        """No start is tried earlier: the back-off after a failed start."""
        self._hopeless = False
        """The last start failed because the function cannot load."""
        self._resting = False
        self._is_put_off = self._lacks_room_for_spares = False
        """The machine has no room for a start, or for another spare: none is tried."""
        self._withholds_spares = False
        """The machine has no memory for spares."""

    def has_instance_of(self, key: str | None) -> bool:
        """Whether an instance serves the key, so that its events wait for no other one."""
        return self._bindings is not None and key is not None and self._bindings.member(key) is not None

    def has_event_of(self, key: str) -> bool:
        """Whether an event of the key runs or waits."""
        if self._bindings is None:
            return False
        return self._bindings.member(key) in self._busy or self._bindings.line.oldest_of_ns(key) is not None

    def is_full(self) -> bool:
        """Whether no instance more may start."""
        return self._is_put_off or self._living() >= self._most_living()

    def _most_living(self) -> int:
        """The most instances and starts. A spare that anybody may take is one of `max_instances`."""
        spares = 0 if self._bindings is None else self.settings.spare
        return self._max_instances() + spares

    def _max_instances(self) -> int:
        """`max_instances`, or what the other versions leave of it."""
        return self.settings.max_instances if self.joint is None else self.joint.left_for(self)

    def _reachable(self) -> int:
        """How many instances it could have now, if other versions of the function gave up what they have idle."""
        return self.settings.max_instances if self.joint is None else self.joint.reachable_for(self)

    def _needed_now(self) -> int:
        """How many instances more the waiting events could use."""
        if self._bindings is None:
            return -(-len(self._waiting) // self._slots)
        return min(self._bindings.line.seeking, self._max_instances() - self._used())

    def _wanted_starts(self, now_ns: int, *, spares: bool = True) -> int:
        """How many instances should start now. Without `spares`: those that the pool cannot do without."""
        room = self._most_living() - self._living()
        if self._is_put_off or room <= 0 or now_ns < self._blocked_ns:  # every event of a burst that waits comes here
            return 0
        needed = self._needed_now()
        ahead = 0
        if now_ns >= self._refill_ns:
            ahead = (self._wanted_ready(now_ns) if spares and not needed else self._reserved()) - len(self._spares)
        if self.announced.wants_start(now_ns) and not (self.has_free_slot or self._spares):
            ahead = max(ahead, 1)
        return max(0, min(max(needed, ahead) - self._starting, room))

    def _wanted_ready(self, now_ns: int) -> int:
        """How many instances should be ready beside those that have run events."""
        spare = self.settings.spare if self._wants_spares(now_ns) else 0
        if self._lacks_room_for_spares:
            spare = min(spare, len(self._spares))
        return max(self._reserved(), spare)

    def _reserved(self) -> int:
        """How many instances should be ready at all times. One that serves no other key is not."""
        if self._bindings is not None:
            return self.settings.reserved
        return max(0, self.settings.reserved - len(self._idle) - len(self._serving()))

    def _wants_spares(self, now_ns: int) -> bool:
        """Whether the function is active: it runs an event, or did within `keep_alive`. Without that, nothing stays."""
        if self._withholds_spares or self.settings.keep_alive_s == 0:
            return False
        return bool(self._busy or self._waiting) or now_ns < self._end_of_activity_ns()

    def _last_used_ns(self) -> int:
        idle = next(reversed(self._idle.values()), _LONG_AGO_NS)
        kept = next(reversed(self._kept.values()), _LONG_AGO_NS)
        return max(self._used_ns, idle, kept)

    def _has_expired_wait(self, now_ns: int) -> bool:
        return bool(self._waiting) and now_ns >= self._end_of_wait_ns()

    def _has_needless_spare(self, now_ns: int) -> bool:
        """Whether the oldest spare may end, because there are more than are wanted."""
        if not self._spares or (now_ns < self._end_of_spare_ns() and not self._withholds_spares):
            return False
        held = not self._idle and self._holds_one(now_ns)
        return len(self._spares) > max(self._wanted_ready(now_ns), int(held))

    def _has_idled_out(self, now_ns: int) -> bool:
        """Whether the longest idle instance may end: neither `reserved` nor an announcement keeps it."""
        idle = len(self._idle)
        if not idle:
            return False
        staying = idle + len(self._serving()) + len(self._spares)
        surplus = min(idle - self._holds_one(now_ns), staying - self.settings.reserved)
        return surplus > 0 and now_ns >= self._end_of_idling_ns()

    def _holds_one(self, now_ns: int) -> bool:
        """Whether an instance that runs nothing must stay for an announced event, which has not come yet."""
        return not self._open and self.announced.holds(self._last_used_ns(), now_ns)

    def _has_kept_out(self, now_ns: int) -> bool:
        """Whether the longest idle instance with a key may end."""
        return bool(self._kept) and now_ns >= self._end_of_keeping_ns()

    def _may_rest(self, now_ns: int) -> bool:
        empty = not (self.members() or self._starting or self._waiting or self._is_put_off)
        if self.settings.rest != "none" or self._resting or not empty or now_ns < self._rest_ns():
            return False
        return not self.announced.forbids_rest(now_ns)

    def next_tick_ns(self, now_ns: int) -> int | None:
        """Return when `tick` next has something to do; None: not before another method is called."""
        moments = sorted({max(now_ns, at_ns) for at_ns in self._moments()})
        return next((at_ns for at_ns in moments if self._is_due(at_ns)), None)

    def _is_due(self, at_ns: int) -> bool:
        """Whether `tick` would do something at `at_ns`."""
        return (
            self._has_expired_wait(at_ns)
            or self._has_needless_spare(at_ns)
            or self._has_idled_out(at_ns)
            or self._has_kept_out(at_ns)
            or self._wanted_starts(at_ns) > 0
            or self._may_rest(at_ns)
            or (self._hopeless and at_ns >= self._blocked_ns)
            or self.announced.has_missed(at_ns)
        )

    def _moments(self) -> Iterator[int]:
        """Every time at which something may become due."""
        yield from (self._blocked_ns, self._refill_ns, self._rest_ns(), self._end_of_activity_ns())
        yield from self.announced.moments()
        if self._waiting:
            yield self._end_of_wait_ns()
        if self._spares:
            yield self._end_of_spare_ns()
        if self._idle:
            yield self._end_of_idling_ns()
        if self._kept:
            yield self._end_of_keeping_ns()

    def _end_of_wait_ns(self) -> int:
        return self._waiting.oldest_ns() + int(self.settings.max_wait_s * 1e9)

    def _end_of_activity_ns(self) -> int:
        return self._last_used_ns() + self._keep_alive_ns()

    def _end_of_spare_ns(self) -> int:
        return next(iter(self._spares.values())) + self._keep_alive_ns()

    def _end_of_idling_ns(self) -> int:
        return next(iter(self._idle.values())) + self._keep_alive_ns()

    def _end_of_keeping_ns(self) -> int:
        return next(iter(self._kept.values())) + self._keep_alive_ns()

    def _keep_alive_ns(self) -> int:
        return int(self.settings.keep_alive_s * 1e9)

    def _rest_ns(self) -> int:
        return self._active_ns + int(self.settings.template_keep_alive_s * 1e9)

    # What the budget of the machine asks, which may have no room for what this pool wants.

    @property
    def is_put_off(self) -> bool:
        """Whether the machine has no room for a start."""
        return self._is_put_off

    def wants_room(self, now_ns: int) -> bool:
        """Whether a start that the pool cannot do without would be decided if the machine had room."""
        put_off, self._is_put_off = self._is_put_off, False
        wanted = self._wanted_starts(now_ns, spares=False)
        self._is_put_off = put_off
        return wanted > 0

    def dispensable(self, now_ns: int) -> dict[Member, int]:
        """The instances that could go at once, and when each fell idle: those with most reason to go first.

        One that is kept for an announced event is left out, and so are reserved ones that must serve any key.
        """
        spares, idle = dict(self._spares), dict(self._idle)
        if self._bindings is not None:
            for _ in range(min(len(spares), self.settings.reserved)):
                spares.popitem()
        if not self._open:
            latest = idle or spares
            if latest and self.announced.holds(next(reversed(latest.values())), now_ns):
                latest.popitem()
        return spares | self._kept | idle

    def surplus(self) -> int:
        """How many instances may go, among those that could and those that are busy and will serve again."""
        serving = len(self.serving())
        if self._bindings is not None:
            return len(self._kept) + serving + max(0, len(self._spares) - self.settings.reserved)
        return len(self._spares) + len(self._idle) + serving - self.settings.reserved

    def serving(self) -> list[Member]:
        """The busy instances that will get further events."""
        return [member for member in self._busy if member not in self._closed]

    # What the pools of other versions of the function ask, which share `max_instances` with this one.

    def living(self) -> int:
        """Every instance, and every start under way, that counts towards the limit.

        In a pool whose instances are not shared, none counts before it serves.
        """
        return self._living() if self._bindings is None else self._used()

    def taken(self) -> int:
        """Those of them that nobody else could have now: they run something, or are ending."""
        return len(self._busy) + len(self._leaving)

    def ending(self) -> int:
        """How many of them end without being asked: now, or after the calls that they run."""
        return len(self._leaving) + len(self._closed - self._outdated)

    def lacking(self, now_ns: int) -> int:
        """How many instances more the waiting events would have now if the other versions had none."""
        if not self._waiting:
            return 0
        joint, self.joint = self.joint, None
        wanted = self._needed_now() if self._bindings is not None else self._wanted_starts(now_ns, spares=False)
        self.joint = joint
        return wanted

    def has_waiting(self) -> bool:
        """Whether an event waits."""
        return bool(self._waiting)

    def oldest_wait_ns(self) -> int:
        """When the first of the events that wait was accepted; there must be one."""
        return self._waiting.oldest_ns()
