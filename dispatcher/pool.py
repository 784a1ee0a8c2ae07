"""The pool of one function: which event gets which instance, and when an instance starts or ends. Pure.

Theory of operation. Each occurrence is one method call with the time of the occurrence; it returns the actions to carry
out. The I/O around the pool (`runner.py`) decides nothing. Three rules cover everything:

1. Each instance has as many slots as it may run calls at once (`concurrency`); it is idle while all of them are free.
   An event takes a slot of a busy instance that has one, of several the one that was full last, so that one instance is
   filled before another is used. With none it takes the most recently used idle instance (LIFO). Thus the surplus
   reaches `keep_alive`. Without a free slot an event waits in a bounded line, in the order of acceptance; the next slot
   to become free, in an old instance or a new one, serves the first in line.
2. Another instance is started only while the slots of those that are starting are too few for the waiting events, or
   reserved instances are missing, and never beyond `max_instances`. So a burst does not cause a storm of starts: 500
   events start one instance with 500 slots.
3. An instance that has been idle for `keep_alive` ends, the longest idle first, but never below `reserved`, and never
   the one that an announced event is about to need.

A renewal makes every instance outdated: it gets no further event and ends as soon as it is not busy. A busy outdated
instance counts towards `max_instances`; one that is ending does not, or events would wait for its end. An instance that
is closed, because it has begun its last call or is gone, gets no further event either and ends after its open calls.

Hence no event waits while a slot is free, and no instance starts without need.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Set
from typing import Generic

from msgspec.structs import replace

from dispatcher.actions import Action, Assign, Fail, Leave, Member, Refuse, Rest, Start, Statistics
from dispatcher.announced import Announced
from dispatcher.line import Line, Ticket
from dispatcher.settings import PoolSettings


class Pool(Generic[Ticket, Member]):
    """The instances of one function and the events that wait for one. Times are CLOCK_MONOTONIC nanoseconds."""

    def __init__(self, settings: PoolSettings, now_ns: int) -> None:
        self.settings = settings
        self._slots = settings.slots
        self._idle: OrderedDict[Member, int] = OrderedDict()
        """when each became idle, the most recently used last"""
        self._busy: dict[Member, int] = {}
        """how many calls each runs"""
        self._open: dict[Member, None] = {}
        """the busy ones with a free slot, the one that was full last at the end; never any with one slot"""
        self._closed: set[Member] = set()
        """busy, and given no further event"""
        self._leaving: set[Member] = set()
        self._outdated: set[Member] = set()
        """from before the last renewal: busy or ending"""
        self._starting = 0
        self._waiting: Line[Ticket] = Line()
        self._active_ns = now_ns
        self._refill_ns = now_ns
        """Missing reserved instances start no earlier: the back-off for instances that keep dying."""
        self._blocked_ns = now_ns
        """No start is tried earlier: the back-off after a failed start."""
        self._hopeless = False
        """The last start failed because the function cannot load."""
        self._resting = False
        self.announced = Announced()
        """The events for which an instance with a free slot starts and is kept."""

    def __repr__(self) -> str:
        return f"<Pool: {self}>"

    def __str__(self) -> str:
        now = self.statistics()
        calls = f" with {now.calls} calls" if self._slots > 1 else ""
        instances = f"{now.idle} idle, {now.busy} busy{calls}, {now.starting} starting, {now.leaving} leaving"
        states = (", cannot load" if self._hopeless else "") + (", at rest" if self._resting else "")
        return f"{instances}, {now.waiting} events waiting{states}"

    def take(self) -> Member | None:
        """Take a free slot by rule 1 and return its instance, or None. This is the warm path."""
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

    def wait(
        self, ticket: Ticket, accepted_ns: int, now_ns: int, *, size_bytes: int = 0, again: bool = False
    ) -> "list[Action[Ticket, Member]]":
        """Put an event of `size_bytes` in line, because no slot is free.

        `again`: the event had an instance that was dead. It is never refused, and regains its place in line.
        """
        self._active_ns = now_ns
        if again:
            self._waiting.insert(ticket, accepted_ns, size_bytes)
        elif self._is_line_full():
            return [Refuse(ticket, "QueueFull")]
        else:
            self._waiting.append(ticket, accepted_ns, size_bytes)
        return self._attend(now_ns)

    def withdraw(self, ticket: Ticket) -> None:
        """Take an event out of the line. A start made for it continues; the instance serves the next event."""
        self._waiting.discard(ticket)

    def freed(self, member: Member, now_ns: int) -> "list[Action[Ticket, Member]]":
        """An instance finished a call."""
        self._active_ns = now_ns
        if member in self._closed:
            return self._freed_closed(member, now_ns)
        if self._waiting:
            return [Assign(self._waiting.pop(), member)]
        calls = self._busy.pop(member) - 1
        if calls:
            self._busy[member] = calls
            self._open[member] = None  # at the end, unless it has been open before
            return []
        if self._open:
            self._open.pop(member, None)
        self._idle[member] = now_ns
        return []

    def close(self, member: Member) -> None:
        """A busy instance takes no more events and ends after its open calls: it has begun its last one, or is gone."""
        self._closed.add(member)
        self._open.pop(member, None)

    def retire(self, member: Member, now_ns: int) -> "list[Action[Ticket, Member]]":
        """Replace an instance that should serve no longer: it ends after its open calls, at once if it is idle."""
        if member in self._busy:
            self.close(member)
        elif self._idle.pop(member, None) is not None:
            self._leaving.add(member)
            return [Leave(member), *self._attend(now_ns)]
        return []

    def _freed_closed(self, member: Member, now_ns: int) -> "list[Action[Ticket, Member]]":
        self._busy[member] -= 1
        if self._busy[member]:
            return []
        del self._busy[member]
        self._closed.discard(member)
        if member not in self._outdated:  # which also counts as leaving, now that it is not busy
            self._leaving.add(member)
        return [Leave(member), *self._attend(now_ns)]

    def started(self, member: Member, now_ns: int) -> "list[Action[Ticket, Member]]":
        """A start succeeded, which also proves that the function loads."""
        self._starting -= 1
        self._active_ns = now_ns
        if self._hopeless:
            self._hopeless = False
            self._blocked_ns = now_ns
        return [*self._place(member, now_ns), *self._attend(now_ns)]

    def start_failed(self, now_ns: int, retry_ns: int, *, hopeless: bool) -> "list[Action[Ticket, Member]]":
        """A start failed. The next one is tried no earlier than `retry_ns`, which is in the future.

        `hopeless`: the function cannot load, so waiting and new events fail at once, unless a live instance can serve
        them. Otherwise the machine had no room, and events keep waiting.
        """
        self._starting -= 1
        self._blocked_ns = retry_ns
        self._hopeless = hopeless
        return self._attend(now_ns)

    def died(self, member: Member, now_ns: int, retry_ns: int) -> "list[Action[Ticket, Member]]":
        """An instance died, in whichever state. Its replacement, if `reserved` needs one, starts after `retry_ns`."""
        expected = self.is_leaving(member)
        self._idle.pop(member, None)
        self._busy.pop(member, None)
        self._open.pop(member, None)
        self._closed.discard(member)
        self._leaving.discard(member)
        self._outdated.discard(member)
        if not expected:
            self._refill_ns = max(self._refill_ns, retry_ns)
        return self._attend(now_ns)

    def renew(self, settings: PoolSettings, fresh: Iterable[Member], now_ns: int) -> "list[Action[Ticket, Member]]":
        """Replace the function's version. `fresh` are the first instances of the new one; starts in flight are void.

        Waiting events go to `fresh` or cause starts; outdated idle instances end at once. Instances of `fresh` that
        exceed `max_instances` together with the busy ones end too.
        """
        self.settings, self._slots = settings, settings.slots
        self._outdated |= self._idle.keys() | self._busy.keys() | self._leaving
        self._closed |= self._busy.keys()
        actions: list[Action[Ticket, Member]] = [Leave(member) for member in self._idle]
        self._idle.clear()
        self._open.clear()
        self._leaving.clear()
        self._starting = 0  # the runner drops the instances that these starts of the old version bring
        self._hopeless = self._resting = False
        self._active_ns = self._blocked_ns = self._refill_ns = now_ns
        for member in fresh:
            if len(self._idle) + len(self._busy) < settings.max_instances:
                actions += self._place(member, now_ns)
            else:
                self._outdated.add(member)
                actions.append(Leave(member))
        return [*actions, *self._attend(now_ns)]

    def wind_up(self, now_ns: int) -> "list[Action[Ticket, Member]]":
        """Run the accepted events, then end every instance and the template: the function is no longer served."""
        self.settings = replace(self.settings, reserved=0, keep_alive_s=0.0, rest="none", template_keep_alive_s=0.0)
        self.announced.clear()
        self._resting = False
        return self.tick(now_ns)

    def tick(self, now_ns: int) -> "list[Action[Ticket, Member]]":
        """Time passed: refuse events that waited too long, end idle instances, start what is due, rest."""
        actions: list[Action[Ticket, Member]] = []
        self._hopeless = self._is_hopeless(now_ns)
        self.announced.forget(now_ns)
        while self._has_expired_wait(now_ns):
            actions.append(Refuse(self._waiting.pop(), "WaitExpired"))
        while self._has_idled_out(now_ns):
            member, _ = self._idle.popitem(last=False)
            self._leaving.add(member)
            actions.append(Leave(member))
        actions += self._attend(now_ns)
        if self._may_rest(now_ns):
            self._resting = True
            actions.append(Rest())
        return actions

    def next_tick_ns(self, now_ns: int) -> int | None:
        """Return when `tick` next has something to do; None: not before another method is called."""
        moments = sorted({max(now_ns, at_ns) for at_ns in self._moments()})
        return next((at_ns for at_ns in moments if self._is_due(at_ns)), None)

    def is_full(self) -> bool:
        """Whether `max_instances` leaves no room for another start."""
        return self._living() >= self.settings.max_instances

    def is_leaving(self, member: Member) -> bool:
        """Whether the pool asked for its end."""
        return member in self._leaving or member in self._outdated

    def room(self, now_ns: int) -> int:
        """Return how many more events could run now; 0 while the function cannot load and no instance is alive."""
        if self._is_hopeless(now_ns) and not self._idle and not self._serving():
            return 0
        return max(0, self._places())

    def statistics(self) -> Statistics:
        busy = len(self._busy)
        calls = busy if self._slots == 1 and not self._outdated else sum(self._busy.values())
        return Statistics(self._starting, len(self._idle), busy, len(self._going()), len(self._waiting), calls)

    def calls(self) -> dict[Member, int]:
        """How many calls each busy instance runs."""
        return dict(self._busy)

    def members(self) -> list[Member]:
        """Every live instance: idle, busy or leaving."""
        return [*self._idle, *self._busy, *self._going()]

    def _serving(self) -> Set[Member]:
        """Busy instances that will serve again."""
        return self._busy.keys() - self._outdated if self._outdated else self._busy.keys()

    def _going(self) -> Set[Member]:
        """Instances that are ending and not busy."""
        return self._leaving | (self._outdated - self._busy.keys()) if self._outdated else self._leaving

    def _living(self) -> int:
        """The instances that count towards `max_instances`, those that are starting included."""
        return len(self._idle) + len(self._busy) + len(self._leaving) + self._starting

    def _places(self) -> int:
        """The slots of `max_instances` less the events that have or await one; if negative, that many wait for a turn.

        Only an open instance gives away the slots that it has free: those of a closed one are lost until it is gone.
        """
        usable = (self.settings.max_instances - len(self._busy) - len(self._leaving)) * self._slots
        free = sum(self._slots - self._busy[member] for member in self._open) if self._open else 0
        return usable + free - len(self._waiting)

    def _is_line_full(self) -> bool:
        """An event that can have a slot of its own is never refused, nor is any for its own size alone."""
        waiting = -self._places()
        settings = self.settings
        return waiting >= settings.max_waiting or (
            waiting >= 0 and self._waiting.size_bytes >= settings.max_waiting_memory_bytes
        )

    def _place(self, member: Member, now_ns: int) -> "list[Action[Ticket, Member]]":
        """Give the slots of a new instance to the first events in line, or make it idle."""
        calls = min(len(self._waiting), self._slots)
        if calls == 0:
            self._idle[member] = now_ns
            return []
        self._busy[member] = calls
        if calls < self._slots:
            self._open[member] = None
        return [Assign(self._waiting.pop(), member) for _ in range(calls)]

    def _attend(self, now_ns: int) -> "list[Action[Ticket, Member]]":
        """Start what is wanted; fail the waiting events if nothing can start and no live instance could serve them."""
        if self._hopeless and self._is_hopeless(now_ns) and not self._serving():
            return [Fail(ticket) for ticket in self._waiting.clear()]
        wanted = self._wanted_starts(now_ns)
        if wanted == 0:
            return []
        self._starting += wanted
        self._resting = False
        return [Start()] * wanted

    def _is_hopeless(self, now_ns: int) -> bool:
        return self._hopeless and now_ns < self._blocked_ns

    def _wanted_starts(self, now_ns: int) -> int:
        room = self.settings.max_instances - self._living()
        if room <= 0 or now_ns < self._blocked_ns:  # in a burst, every event that has to wait comes here
            return 0
        staying = len(self._idle) + len(self._serving())
        deficit = max(0, self.settings.reserved - staying) if now_ns >= self._refill_ns else 0
        if self.announced.wants_start(now_ns) and not self.has_free_slot:
            deficit = max(deficit, 1)
        wanted = -(-len(self._waiting) // self._slots)
        needed = max(wanted, deficit) - self._starting
        return max(0, min(needed, room))

    def _has_expired_wait(self, now_ns: int) -> bool:
        return bool(self._waiting) and now_ns >= self._end_of_wait_ns()

    def _has_idled_out(self, now_ns: int) -> bool:
        """Whether the longest idle instance may end: neither `reserved` nor an announcement keeps it."""
        idle = len(self._idle)
        if not idle:
            return False
        held = not self._open and self.announced.holds(self._idle[next(reversed(self._idle))], now_ns)
        surplus = min(idle - held, idle + len(self._serving()) - self.settings.reserved)
        return surplus > 0 and now_ns >= self._end_of_idling_ns()

    def _may_rest(self, now_ns: int) -> bool:
        empty = not (self._idle or self._busy or self._going() or self._starting or self._waiting)
        if self.settings.rest != "none" or self._resting or not empty or now_ns < self._rest_ns():
            return False
        return not self.announced.forbids_rest(now_ns)

    def _is_due(self, at_ns: int) -> bool:
        """Whether `tick` would do something at `at_ns`."""
        return (
            self._has_expired_wait(at_ns)
            or self._has_idled_out(at_ns)
            or self._wanted_starts(at_ns) > 0
            or self._may_rest(at_ns)
            or (self._hopeless and at_ns >= self._blocked_ns)
            or self.announced.has_missed(at_ns)
        )

    def _moments(self) -> Iterator[int]:
        """Every time at which something may become due."""
        yield from (self._blocked_ns, self._refill_ns, self._rest_ns())
        yield from self.announced.moments()
        if self._waiting:
            yield self._end_of_wait_ns()
        if self._idle:
            yield self._end_of_idling_ns()

    def _end_of_wait_ns(self) -> int:
        return self._waiting.oldest_ns() + int(self.settings.max_wait_s * 1e9)

    def _end_of_idling_ns(self) -> int:
        return next(iter(self._idle.values())) + int(self.settings.keep_alive_s * 1e9)

    def _rest_ns(self) -> int:
        return self._active_ns + int(self.settings.template_keep_alive_s * 1e9)
