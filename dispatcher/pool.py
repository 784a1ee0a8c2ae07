"""The pool of one function: which event gets which instance, and when an instance starts or ends. Pure.

Theory of operation. Each occurrence is one method call with the time of the occurrence; it returns the actions to carry
out. The I/O around the pool (`runner.py`) decides nothing. Five rules cover everything:

1. Each instance has as many slots as it may run calls at once (`concurrency`); it is idle while all of them are free.
   An event takes a slot of a busy instance that has one, of several the one that was full last, so that one instance is
   filled before another is used. With none it takes the most recently used idle instance (LIFO). Thus the surplus
   reaches `keep_alive`. Then it takes a spare. Without a free slot an event waits in a bounded line, in the order of
   acceptance; the next slot to become free, in an old instance or a new one, serves the first in line.
2. Another instance is started only while the slots of those that are starting are too few for the waiting events, or
   reserved instances are missing, and never beyond `max_instances`. So a burst does not cause a storm of starts: 500
   events start one instance with 500 slots.
3. While the function is active, `spare` instances are kept ready that have run nothing yet; a reserved one that has run
   nothing is one of them. They start when no event waits for a start.
4. An instance that has been idle for `keep_alive` ends, the longest idle first, but never below `reserved`, and never
   the one that an announced event is about to need. So does a spare that is not wanted any more.
5. With `reuse = "never"` or a key, instances are not shared. An event takes the instance of its key, once that is idle,
   or else a spare or a new one, which serves no other key afterwards. Without a key, the instance ends after the event.
   Where `max_instances` leave no room for a key, the longest idle instance of another one ends; and if all are busy,
   the first to finish a call, once an event has waited for `PATIENCE_NS` and the instance has had its key for
   `TURN_NS` (`bindings.py`). A spare does not count towards `max_instances` before it serves, as it may be of no use
   to the events that wait until then.

A renewal makes every instance outdated: it gets no further event and ends as soon as it is not busy. A busy outdated
instance counts towards `max_instances`; one that is ending does not, or events would wait for its end. An instance that
is closed, because it has begun its last call or is gone, gets no further event either and ends after its open calls.

Hence no event waits while a slot is free that it may have, and no instance starts without need.
"""

from collections.abc import Callable, Iterable
from typing import Generic

from msgspec.structs import replace

from dispatcher.actions import Action, Assign, Fail, Leave, Member, Refuse, Rest, Start, Statistics
from dispatcher.bindings import Bindings
from dispatcher.line import Line, Ticket
from dispatcher.settings import PoolSettings
from dispatcher.staff import Staff


class Pool(Staff[Ticket, Member], Generic[Ticket, Member]):
    """The instances of one function and the events that wait for one. Times are CLOCK_MONOTONIC nanoseconds."""

    def __init__(self, settings: PoolSettings, now_ns: int) -> None:
        super().__init__(settings, now_ns)
        self._prepare_line()

    def _prepare_line(self) -> None:
        self._bindings = None if self.settings.reuse == "always" else Bindings()
        self._waiting = Line() if self._bindings is None else self._bindings.line

    def __repr__(self) -> str:
        return f"<Pool: {self}>"

    def __str__(self) -> str:
        now = self.statistics()
        calls = f" with {now.calls} calls" if self._slots > 1 else ""
        instances = f"{now.idle} idle, {now.busy} busy{calls}, {now.starting} starting, {now.leaving} leaving"
        spares = f"{now.spare} spare, " if now.spare else ""
        states = (", cannot load" if self._hopeless else "") + (", at rest" if self._resting else "")
        return f"{spares}{instances}, {now.waiting} events waiting{states}"

    def take_of(self, key: str) -> Member | None:
        """Take the instance of the key and return it, or None if there is none or it is busy."""
        member = None if self._bindings is None else self._bindings.member(key)
        if member is None or self._kept.pop(member, None) is None:
            return None
        self._busy[member] = 1
        return member

    def wait(
        self,
        ticket: Ticket,
        accepted_ns: int,
        now_ns: int,
        *,
        size_bytes: int = 0,
        key: str | None = None,
        again: bool = False,
    ) -> "list[Action[Ticket, Member]]":
        """Give an event of `size_bytes` a spare, or put it in line, because it found no free slot.

        `again`: the event had an instance that was dead. It is never refused, and regains its place in line.
        """
        self._active_ns = now_ns
        if again:
            self._waiting.insert(ticket, accepted_ns, size_bytes, key)
        elif self._is_line_full(key):
            return [Refuse(ticket, "QueueFull")]
        else:
            self._waiting.append(ticket, accepted_ns, size_bytes, key)
        return self._attend(now_ns)

    def withdraw(self, ticket: Ticket) -> None:
        """Take an event out of the line. A start made for it continues; the instance serves the next event."""
        self._waiting.discard(ticket)

    def freed(self, member: Member, now_ns: int) -> "list[Action[Ticket, Member]]":
        """An instance finished a call."""
        self._active_ns = now_ns
        if member in self._closed:
            return self._freed_closed(member, now_ns)
        if self._bindings is not None:
            return self._freed_bound(member, self._bindings, now_ns)
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

    def _freed_bound(
        self, member: Member, bindings: "Bindings[Ticket, Member]", now_ns: int
    ) -> "list[Action[Ticket, Member]]":
        """Give the instance the next event of its key, unless it has to make room for another key."""
        line, key = bindings.line, bindings.key(member)
        accepted_ns = line.oldest_of_ns(key)
        if accepted_ns is None:
            del self._busy[member]
            self._kept[member] = now_ns
            return self._attend(now_ns) if line.seeking else []
        room = self._max_instances() - len(self._busy) - len(self._kept)
        if line.seeking > room and bindings.gives_way(member, now_ns):
            self._closed.add(member)
            return self._freed_closed(member, now_ns)
        return [Assign(line.pop_of(key), member)]

    def retire(self, member: Member, now_ns: int) -> "list[Action[Ticket, Member]]":
        """End an instance that should serve no longer, or whose room others need: after its calls, if it has any."""
        if member in self._busy:
            self.close(member)
        elif member in self._idle or member in self._kept or member in self._spares:
            return [self._dismiss(member), *self._attend(now_ns)]
        return []

    def _freed_closed(self, member: Member, now_ns: int) -> "list[Action[Ticket, Member]]":
        self._busy[member] -= 1
        if self._busy[member]:
            return []
        del self._busy[member]
        self._closed.discard(member)
        self._used_ns = now_ns
        if member not in self._outdated:  # which also counts as leaving, now that it is not busy
            self._leaving.add(member)
        self._unbind(member)
        return [Leave(member), *self._attend(now_ns)]

    def started(self, member: Member, now_ns: int) -> "list[Action[Ticket, Member]]":
        """A start succeeded, which also proves that the function loads."""
        self._starting -= 1
        self._active_ns = now_ns
        if self._hopeless:
            self._hopeless = False
            self._blocked_ns = now_ns
        self._spares[member] = now_ns
        return self._attend(now_ns)

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
        if not self.is_leaving(member):
            self._refill_ns = max(self._refill_ns, retry_ns)
            self._used_ns = max(now_ns if member in self._busy else self._last_used_ns(), self._used_ns)
        self._forget(member)
        self._unbind(member)
        return self._attend(now_ns)

    def _unbind(self, member: Member) -> None:
        if self._bindings is not None:
            self._bindings.unbind(member)

    def renew(
        self,
        settings: PoolSettings,
        fresh: Iterable[Member],
        now_ns: int,
        key_of: Callable[[Ticket], str | None] | None = None,
    ) -> "list[Action[Ticket, Member]]":
        """Replace the function's version. `fresh` are the first instances of the new one; starts in flight are void.

        Waiting events go to `fresh` or cause starts; outdated idle instances end at once. Instances of `fresh` that
        exceed `max_instances` together with the busy ones end too. `key_of` returns the key of an event from now on.
        """
        self._used_ns = now_ns if self._busy else self._last_used_ns()
        waiting = self._waiting.entries()
        before = self._bindings if settings.reuse == self.settings.reuse else None
        self.settings, self._slots = settings, settings.slots
        self._prepare_line()
        if before is not None and self._bindings is not None:
            self._bindings.inherit(before, self._busy)
        for ticket, accepted_ns, size_bytes in waiting:
            self._waiting.append(ticket, accepted_ns, size_bytes, None if key_of is None else key_of(ticket))
        actions = self._outdate()
        self._starting = 0  # the runner drops the instances that these starts of the old version bring
        self._hopeless = self._resting = self._is_put_off = self._lacks_room_for_spares = False
        self._active_ns = self._blocked_ns = self._refill_ns = now_ns
        for member in fresh:
            if len(self._spares) + len(self._busy) < self._most_living():
                self._spares[member] = now_ns
            else:
                self._outdated.add(member)
                actions.append(Leave(member))
        return [*actions, *self._attend(now_ns)]

    def _outdate(self) -> "list[Action[Ticket, Member]]":
        ready = [*self._spares, *self._idle, *self._kept]
        self._outdated.update(ready, self._busy, self._leaving)
        self._closed |= self._busy.keys()
        for states in (self._spares, self._idle, self._kept, self._open, self._leaving):
            states.clear()
        return [Leave(member) for member in ready]

    def wind_up(self, now_ns: int) -> "list[Action[Ticket, Member]]":
        """Run the accepted events, then end every instance and the template: the function is no longer served."""
        nothing = {"reserved": 0, "spare": 0, "keep_alive_s": 0.0, "rest": "none", "template_keep_alive_s": 0.0}
        self.settings = replace(self.settings, **nothing)
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
        actions += self._end_needless(now_ns)
        actions += self._attend(now_ns)
        if self._may_rest(now_ns):
            self._resting = True
            actions.append(Rest())
        return actions

    def _end_needless(self, now_ns: int) -> "list[Action[Ticket, Member]]":
        """End the instances that nothing keeps any more. Spares go first: if any stays, it need not be a spare."""
        actions: list[Action[Ticket, Member]] = []
        while self._has_needless_spare(now_ns):
            actions.append(self._dismiss(next(iter(self._spares))))
        while self._has_idled_out(now_ns):
            actions.append(self._dismiss(next(iter(self._idle))))
        while self._has_kept_out(now_ns):
            actions.append(self._dismiss(next(iter(self._kept))))
        return actions

    def _dismiss(self, member: Member) -> "Leave[Member]":
        """End a spare or idle instance."""
        self._used_ns = self._last_used_ns()
        self._forget(member)
        self._unbind(member)
        self._leaving.add(member)
        return Leave(member)

    def hold_spares(self, held: bool, now_ns: int) -> "list[Action[Ticket, Member]]":
        """Have no spares but reserved ones while `held`, because the machine is short of memory."""
        self._withholds_spares = held
        return [*self._end_needless(now_ns), *self._attend(now_ns)]

    def put_off(self) -> None:
        """The machine has no room for a start that was decided: none is tried before `resume`."""
        self._starting -= 1
        self._is_put_off = True

    def put_off_spare(self, now_ns: int) -> "list[Action[Ticket, Member]]":
        """The machine has no room for a spare: none but reserved ones is tried before `resume`."""
        self._starting -= 1
        self._lacks_room_for_spares = True
        return self._attend(now_ns)

    def resume(self, now_ns: int) -> "list[Action[Ticket, Member]]":
        """The machine may have room again."""
        self._is_put_off = self._lacks_room_for_spares = False
        return self._attend(now_ns)

    def room(self, now_ns: int) -> int:
        """Return how many more events could run now; 0 while the function cannot load and no instance is alive."""
        if self._is_hopeless(now_ns) and not self._has_server():
            return 0
        most = min(self._reachable(), self._living()) if self._is_put_off else self._reachable()
        return max(0, self._places(most))

    def statistics(self) -> Statistics:
        busy = len(self._busy)
        is_one_each = self._slots == 1 and not (self._outdated or self._closed)
        return Statistics(
            starting=self._starting,
            idle=len(self._idle) + len(self._kept),
            busy=busy,
            leaving=len(self._going()),
            waiting=len(self._waiting),
            calls=busy if is_one_each else sum(self._busy.values()),
            spare=len(self._spares),
        )

    def _places(self, most: int) -> int:
        """The slots of `most` instances less the events that have or await one; if negative, that many wait for a turn.

        Only an open instance gives away the slots that it has free: those of a closed one are lost until it is gone.
        """
        usable = (most - len(self._busy) - len(self._leaving)) * self._slots
        free = sum(self._slots - self._busy[member] for member in self._open) if self._open else 0
        return usable + free - len(self._waiting)

    def _is_line_full(self, key: str | None) -> bool:
        """An event that can have a slot of its own is never refused, nor is any for its own size alone."""
        waiting = -self._places(self._reachable())
        if self._bindings is not None:  # those that wait for the instance of their key leave places to others
            line, places = self._bindings.line, len(self._waiting) - waiting
            if line.seeking < places and not line.has(key):
                return False
            waiting = len(line) - max(0, min(line.seeking, places))
        settings = self.settings
        return waiting >= settings.max_waiting or (
            waiting >= 0 and self._waiting.size_bytes >= settings.max_waiting_memory_bytes
        )

    def _attend(self, now_ns: int) -> "list[Action[Ticket, Member]]":
        """Give spares to waiting events, make room for the others, and start what is wanted."""
        actions = self._hand_out(now_ns)
        if self._hopeless and self._is_hopeless(now_ns):
            return [*actions, *self._give_up()]
        if self._bindings is not None:
            actions += self._make_room(self._bindings.line.seeking)
        wanted = self._wanted_starts(now_ns)
        if wanted:
            needed = max(0, self._needed_now() - self._starting)
            firm = wanted if needed >= wanted else self._wanted_starts(now_ns, spares=False)
            self._starting += wanted
            self._resting = False
            actions += [Start(ahead=n >= needed, spare=n >= firm) for n in range(wanted)]
        return actions

    def _hand_out(self, now_ns: int) -> "list[Action[Ticket, Member]]":
        """Give the spares to the waiting events that may have them."""
        actions: list[Action[Ticket, Member]] = []
        while self._spares and (calls := min(self._needed_now() * self._slots, len(self._waiting), self._slots)) > 0:
            member, _ = self._spares.popitem(last=False)
            self._busy[member] = calls
            if self._bindings is not None:
                actions.append(self._bind(member, self._bindings, now_ns))
                continue
            if calls < self._slots:
                self._open[member] = None
            actions += [Assign(self._waiting.pop(), member) for _ in range(calls)]
        return actions

    def _bind(self, member: Member, bindings: "Bindings[Ticket, Member]", now_ns: int) -> "Assign[Ticket, Member]":
        """Give an instance to the first event that seeks one. Without a key it is not used again."""
        ticket, key = bindings.line.pop_seeker()
        if key is None:
            self._closed.add(member)
        else:
            bindings.bind(member, key, now_ns)
        return Assign(ticket, member)

    def _make_room(self, seeking: int) -> "list[Action[Ticket, Member]]":
        """End the longest idle instances of other keys, as many as the events that seek one need room for."""
        lacking = seeking - (self._max_instances() - len(self._busy) - len(self._kept))
        return [self._dismiss(next(iter(self._kept))) for _ in range(min(lacking, len(self._kept)))]

    def _give_up(self) -> "list[Action[Ticket, Member]]":
        """Fail the waiting events that no live instance could serve, because no other can start."""
        if self._has_server():
            return []
        tickets = self._waiting.clear() if self._bindings is None else self._bindings.line.clear_seekers()
        return [Fail(ticket) for ticket in tickets]

    def _has_server(self) -> bool:
        """Whether there is an instance that could serve a further event of any key."""
        if self._bindings is not None:
            return bool(self._spares)
        return bool(self._spares or self._idle or self._serving())

    def can_serve(self, now_ns: int) -> bool:
        """Whether an event of any key would not fail at once because the function cannot load."""
        return not self._is_hopeless(now_ns) or self._has_server()

    def _is_hopeless(self, now_ns: int) -> bool:
        return self._hopeless and now_ns < self._blocked_ns
