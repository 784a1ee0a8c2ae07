"""The budget of the machine: which starts have room, in which order functions get it, and what makes room. Pure.

Theory of operation. The charge of a process is what it holds beyond what it shares with the process that it was forked
from, and at least 1 MiB. A start is booked before it begins, with the largest charge that instances of its function
have had lately, and the booking becomes the charge of the instance. Four rules cover everything:

1. A start has room while the charges, with its own, fit into the limit, and the instances into `max_instances`. One
   instance beyond the reserved ones, and the first reserved one of a function, always have room, or a limit that these
   and the templates exceed would stop functions for good.
2. Few starts are in flight at a time, because more would only take the processors from one another. A function that has
   no template starts one instance first, since all others would wait for the same load. A start that takes longer than
   `STUCK_NS` is waiting for something else than a processor, and does not count.
3. What has no room waits: a function, not a start. The function that has the fewest instances beyond its reserved ones
   is first, of several the one that has waited longest. Nothing overtakes it for being smaller, unless no room at all
   can be made for the first.
4. To make room, the idle instance of the least value goes: `value` is uses times start cost per byte, so spares go
   first. If no idle one may go, the function with the most instances beyond its reserved ones gives up a busy one,
   after its call, if the waiting one has none or would still have fewer afterwards. A reserved instance never goes
   (`relief.py`).

An instance that has just got its room keeps it for a turn, unless it falls idle. So when more functions want to run
than there is room for, they take turns, and only a small part of the time goes into starts.
"""

from typing import Generic, Literal, TypeVar

from msgspec import Struct

from dispatcher.actions import Member
from sandbox.usage import LEAST_KB

Owner = TypeVar("Owner")
"""A function."""

LEAST_BYTES = LEAST_KB * 1024
"""Charged for any process."""
PATIENCE_NS = 250_000_000
"""After this time, room that an instance was asked for is asked of another one too: its call may take long."""
STUCK_NS = 1_000_000_000
FORGETTING = 8
"""With each instance that ends, the estimate comes nearer to its size by this part of the difference."""


class Limits(Struct, frozen=True, kw_only=True):
    """What the processes of all functions may hold together. None: no limit."""

    memory_bytes: int | None = None
    max_instances: int | None = None
    loads: int = 2
    """Starts in flight that import code."""
    forks: int = 8
    """Starts in flight that only fork."""


class Booking(Struct, Generic[Owner], frozen=True, eq=False):
    """A start in flight."""

    owner: Owner
    size_bytes: int
    """the estimate that it is charged"""
    begun_ns: int
    loads: bool


class _Place(Struct, Generic[Owner]):
    owner: Owner
    size_bytes: int
    since_ns: int


class _Account(Struct):
    reserved: int
    held: int = 0
    """instances, and starts in flight"""
    largest_bytes: int = LEAST_BYTES
    is_loading: bool = False


UNLIMITED = Limits()


class Budget(Generic[Owner, Member]):
    """The charges of all processes, and the functions that wait for room. Times are CLOCK_MONOTONIC nanoseconds."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.charged_bytes = 0
        self._fixed_bytes = 0
        self._places: dict[Member, _Place[Owner]] = {}
        self._bookings: set[Booking[Owner]] = set()
        self._accounts: dict[Owner, _Account] = {}
        self._waiting: dict[Owner, bool] = {}
        """Functions in the order in which they began to wait, and whether their start loads code."""
        self._promised: dict[Member, int] = {}
        """Instances that were asked to go, and until when their room counts as coming."""
        self._stranded: set[Owner] = set()
        """Functions that wait, and for which no room could be made when it was last tried."""

    @property
    def count(self) -> int:
        """The instances, until they are gone, and the starts in flight."""
        return len(self._places) + len(self._bookings)

    @property
    def is_awaited(self) -> bool:
        """Whether a function waits."""
        return bool(self._waiting)

    def open(self, owner: Owner, reserved: int) -> None:
        """Keep an account of this function, or change the number of its reserved instances."""
        self._accounts.setdefault(owner, _Account(reserved)).reserved = reserved

    def close(self, owner: Owner) -> None:
        """The function has no process any more."""
        self._waiting.pop(owner, None)
        self._accounts.pop(owner, None)

    def waiting(self) -> list[Owner]:
        """Return the functions that wait, in the order in which they get room."""
        return sorted(self._waiting, key=self._excess)

    def admit(self, owner: Owner, now_ns: int, *, loads: bool) -> Booking[Owner] | None:
        """Book a start, or let the function wait for it. `loads`: there is no template to fork from."""
        if self._waiting or not (self._has_room(owner) and self._has_turn(owner, now_ns, loads=loads)):
            self._waiting[owner] = loads
            if self.next(now_ns) != owner:
                return None
            del self._waiting[owner]
        account = self._accounts[owner]
        booking = Booking(owner, account.largest_bytes, now_ns, loads)
        self._bookings.add(booking)
        self.charged_bytes += booking.size_bytes
        account.held += 1
        account.is_loading |= loads
        return booking

    def has_spare_room(self, owner: Owner, now_ns: int, *, loads: bool) -> bool:
        """Whether a start that nothing waits for may begin: it takes no room from functions that wait."""
        has_room = self._has_place() and self._fits(owner)
        return not self._waiting and has_room and self._has_turn(owner, now_ns, loads=loads)

    def withdraw(self, owner: Owner) -> None:
        """The function needs no start any more."""
        self._waiting.pop(owner, None)

    def next(self, now_ns: int) -> Owner | None:
        """Return the function that may start an instance now; None: nobody waits, or there is no room for the first."""
        for owner in self.waiting():
            if self._has_turn(owner, now_ns, loads=self._waiting[owner]):
                if self._has_room(owner):
                    return owner
                if owner not in self._stranded:
                    return None
        return None

    def started(self, booking: Booking[Owner], member: Member, now_ns: int) -> None:
        """A start succeeded: its charge is that of the instance, until it is measured."""
        self.failed(booking)
        self.place(booking.owner, member, booking.size_bytes, now_ns)

    def failed(self, booking: Booking[Owner]) -> None:
        """A start is over, and has brought no instance."""
        self._bookings.remove(booking)
        self.charged_bytes -= booking.size_bytes
        if (account := self._accounts.get(booking.owner)) is not None:
            account.held -= 1
            account.is_loading &= not booking.loads

    def place(self, owner: Owner, member: Member, size_bytes: int, now_ns: int) -> None:
        """Charge an instance that was started without a booking: a reload makes new ones before the old ones go."""
        self._places[member] = _Place(owner, size_bytes, now_ns)
        self.charged_bytes += size_bytes
        if (account := self._accounts.get(owner)) is not None:
            account.held += 1

    def estimate_bytes(self, owner: Owner) -> int:
        """Return the charge of an instance that was not measured yet: the largest that one of its function had."""
        return self._accounts[owner].largest_bytes

    def measured(self, member: Member, size_bytes: int) -> None:
        """Correct the charge of an instance."""
        place = self._places.get(member)
        if place is None:
            return
        size_bytes = max(LEAST_BYTES, size_bytes)
        self.charged_bytes += size_bytes - place.size_bytes
        place.size_bytes = size_bytes
        if (account := self._accounts.get(place.owner)) is not None:
            account.largest_bytes = max(account.largest_bytes, size_bytes)

    def charge_fixed(self, size_bytes: int) -> None:
        """Charge zygotes and templates, all together."""
        self.charged_bytes += size_bytes - self._fixed_bytes
        self._fixed_bytes = size_bytes

    def ended(self, member: Member) -> None:
        """An instance is gone."""
        place = self._places.pop(member)
        self._promised.pop(member, None)
        self.charged_bytes -= place.size_bytes
        if (account := self._accounts.get(place.owner)) is not None:
            account.held -= 1
            account.largest_bytes -= (account.largest_bytes - place.size_bytes) // FORGETTING

    def lack(self) -> Literal["memory", "max_instances"] | None:
        """Return which limit leaves no room for the first function that waits for room; None if none does."""
        for owner in self.waiting():
            if not self._has_room(owner):
                return "memory" if self._has_place() else "max_instances"
        return None

    @property
    def is_over(self) -> bool:
        """Whether instances have grown beyond the limit, without those that are asked to go."""
        limit = self.limits.memory_bytes
        return limit is not None and self.charged_bytes - self._promised_bytes() > limit

    def size_bytes(self, member: Member) -> int:
        """Return the charge of an instance."""
        place = self._places.get(member)
        return LEAST_BYTES if place is None else place.size_bytes

    def since_ns(self, member: Member) -> int:
        """Return when an instance got its room."""
        place = self._places.get(member)
        return 0 if place is None else place.since_ns

    def promise(self, member: Member, now_ns: int) -> None:
        """An instance was asked to go."""
        self._promised[member] = now_ns + PATIENCE_NS

    def is_promised(self, member: Member) -> bool:
        """Whether it was asked to go a short time ago."""
        return member in self._promised

    @property
    def has_promises(self) -> bool:
        """Whether room is coming."""
        return bool(self._promised)

    def forget_promises(self, now_ns: int) -> None:
        """Drop those that take too long."""
        self._promised = {member: until_ns for member, until_ns in self._promised.items() if until_ns > now_ns}

    def strand(self, owners: set[Owner]) -> None:
        """No room can be made for these: others may overtake them."""
        self._stranded = owners

    def changes_ns(self, now_ns: int) -> int | None:
        """Return when time alone changes what those that wait may have; None: never, or nobody waits."""
        if not self._waiting:
            return None
        stuck_ns = (booking.begun_ns + STUCK_NS for booking in self._bookings)
        return min((at_ns for at_ns in (*stuck_ns, *self._promised.values()) if at_ns > now_ns), default=None)

    def holders(self) -> set[Owner]:
        """Return the functions that have instances."""
        return {place.owner for place in self._places.values()}

    def is_empty(self, owner: Owner) -> bool:
        """Whether a function has no instance and no start under way, but those that were asked to go."""
        return self.excess(owner) + self._accounts[owner].reserved <= 0

    def excess(self, owner: Owner) -> int:
        """Return the instances of a function beyond its reserved ones, without those that were asked to go."""
        promised = sum(self._places[member].owner == owner for member in self._promised if member in self._places)
        return self._excess(owner) - promised

    def room(self) -> tuple[int | None, int | None]:
        """Return the bytes and the instances that are free, or will be once those are gone that were asked to."""
        memory_bytes, most = self.limits.memory_bytes, self.limits.max_instances
        going = sum(member in self._places for member in self._promised)
        free_bytes = None if memory_bytes is None else memory_bytes - self.charged_bytes + self._promised_bytes()
        return free_bytes, None if most is None else most - self.count + going

    def waits_for_turn(self, owner: Owner, now_ns: int) -> bool:
        """Whether a function that waits has to wait for other starts, whatever room there is."""
        return not self._has_turn(owner, now_ns, loads=self._waiting[owner])

    def _promised_bytes(self) -> int:
        return sum(self._places[member].size_bytes for member in self._promised if member in self._places)

    def _excess(self, owner: Owner) -> int:
        account = self._accounts[owner]
        return account.held - account.reserved

    def _has_place(self) -> bool:
        return self.limits.max_instances is None or self.count < self.limits.max_instances

    def _has_room(self, owner: Owner) -> bool:
        return self._has_place() and (self._fits(owner) or self._is_least(owner))

    def _fits(self, owner: Owner) -> bool:
        limit_bytes = self.limits.memory_bytes
        return limit_bytes is None or self.charged_bytes + self._accounts[owner].largest_bytes <= limit_bytes

    def _is_least(self, owner: Owner) -> bool:
        """Whether a start is the only one beyond what is reserved, or the first of its function: that exceeds any
        memory."""
        reserved = sum(min(account.held, account.reserved) for account in self._accounts.values())
        is_first = self._accounts[owner].held == 0
        return self.count == 0 or (self.count == reserved and (is_first or self._excess(owner) >= 0))

    def _has_turn(self, owner: Owner, now_ns: int, *, loads: bool) -> bool:
        if self._accounts[owner].is_loading:
            return False
        most = self.limits.loads if loads else self.limits.forks
        if len(self._bookings) < most:
            return True
        return sum(one.loads == loads and one.begun_ns + STUCK_NS > now_ns for one in self._bookings) < most
