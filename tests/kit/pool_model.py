"""The simplest model of a pool whose instances are shared: what it has, and what its decisions must be."""

from collections.abc import Sequence

from dispatcher.actions import Action, Assign, Fail, Leave, Refuse, Rest, Start, Statistics
from dispatcher.announced import LATE_NS
from dispatcher.pool import Pool
from dispatcher.settings import PoolSettings

S = 1_000_000_000
NOTHING = Statistics(0, 0, 0, 0, 0, 0)


def size_bytes(ticket: int) -> int:
    """The bytes of an event, by ticket."""
    return ticket % 3


class PoolModel:
    """Tickets and members are numbers, never used twice."""

    def begin(self, settings: PoolSettings) -> None:
        self.settings = settings
        self.slots = settings.slots
        self.now_ns = self.refill_ns = self.blocked_ns = self.active_ns = self.attended_ns = 100 * S
        self.hopeless = self.resting = False
        self.used_ns = 0
        self.accepted: dict[int, int] = {}
        self.waiting: list[int] = []
        self.ended: dict[int, str] = {}
        self.spares: list[int] = []
        self.idle: list[int] = []
        self.since: dict[int, int] = {}
        self.busy: dict[int, list[int | None]] = {}
        """the tickets that each one runs; None for one that found it dead"""
        self.opened: dict[int, int] = {}
        """for each busy one, which of them had all slots taken or free last: higher is later"""
        self.closed: set[int] = set()
        self.leaving: set[int] = set()
        self.starting = 0
        self.members = 0
        self.expected: set[int] = set()
        self.pool: Pool[int, int] = Pool(self.settings, self.now_ns)

    def room(self) -> int:
        living = len(self.spares) + len(self.idle) + len(self.busy) + len(self.leaving) + self.starting
        return self.settings.max_instances - living

    def may_start(self) -> bool:
        return self.room() > 0

    def may_rest(self) -> bool:
        return self.pool.statistics() == NOTHING and not self.resting

    def open_ones(self) -> list[int]:
        """The busy instances with a free slot, in the order in which they are taken."""
        found = [one for one, tickets in self.busy.items() if one not in self.closed and len(tickets) < self.slots]
        return sorted(found, key=self.opened.__getitem__, reverse=True)

    def free_slots(self) -> int:
        """Those that an event could take."""
        return len(self.idle) * self.slots + sum(self.slots - len(self.busy[one]) for one in self.open_ones())

    def calls(self) -> int:
        return sum(map(len, self.busy.values()))

    def run(self, ticket: int, member: int) -> None:
        assert member not in self.closed
        if member not in self.busy:
            self.busy[member] = []
            self.note_opened(member)
        self.busy[member].append(ticket)
        assert len(self.busy[member]) <= self.slots

    def note_opened(self, member: int) -> None:
        self.opened[member] = max(self.opened.values(), default=0) + 1

    def running(self) -> list[tuple[int, int]]:
        """Every member and ticket."""
        return [(one, ticket) for one, tickets in self.busy.items() for ticket in tickets if ticket is not None]

    def is_expected(self) -> bool:
        return self.is_near(self.pool.announced.leads.start_ns)

    def is_near(self, lead_ns: int) -> bool:
        return any(at_ns - lead_ns <= self.now_ns < at_ns for at_ns in self.expected)

    def awaits_announced(self) -> bool:
        return any(self.now_ns < at_ns + LATE_NS for at_ns in self.expected)

    def keep_alive_ns(self) -> int:
        return int(self.settings.keep_alive_s * S)

    def wanted_ready(self) -> int:
        """How many spares may stay."""
        is_active = self.busy or self.waiting or self.now_ns < self.used_ns + self.keep_alive_ns()
        spare = self.settings.spare if is_active and self.settings.keep_alive_s else 0
        return max(0, spare, self.settings.reserved - len(self.idle) - len(self.busy))

    def deficit(self) -> int:
        """How many instances, starting ones included, must come that no event waits for."""
        ready = 0
        if self.now_ns >= self.refill_ns:
            ready = self.wanted_ready() - len(self.spares)
            if self.waiting:
                ready = self.settings.reserved - len(self.idle) - len(self.busy)
        return max(0, ready, int(self.is_expected() and not (self.free_slots() or self.spares)))

    def indispensable(self) -> int:
        """The same, without mere spares."""
        missing = self.settings.reserved - len(self.idle) - len(self.busy) - len(self.spares)
        is_expected = self.is_expected() and not (self.free_slots() or self.spares)
        return max(0, missing if self.now_ns >= self.refill_ns else 0, int(is_expected))

    def end(self, ticket: int, how: str) -> None:
        assert ticket not in self.ended
        self.ended[ticket] = how

    def carry_out(self, actions: "Sequence[Action[int, int]]", free: int | None = None, new: int | None = None) -> None:
        """`free`: the member that just got a free slot. `new`: the ticket that just arrived."""
        filling = free
        for action in actions:
            match action:
                case Assign(ticket, member):
                    filling = self.spares.pop(0) if member in self.spares[:1] else filling
                    assert (ticket, member) == (self.waiting.pop(0), filling)
                    self.run(ticket, member)
                case Leave(member):
                    self.leave(member, is_free=member == free)
                    free = None if member == free else free
                case Start(ahead, spare):
                    assert ahead == (self.starting * self.slots >= len(self.waiting))
                    assert spare == (ahead and self.starting >= self.indispensable())
                    self.check_start()
                    self.starting += 1
                    self.resting = False
                case Rest():
                    self.check_rest()
                    self.resting = True
                case Refuse(ticket) | Fail(ticket):
                    self.check_refusal(action, new)
                    self.waiting.remove(ticket)
                    self.end(ticket, "refused")
        if free is not None and free not in self.busy:
            self.idle.append(free)
            self.since[free] = self.now_ns
        if new not in self.ended:
            self.attended_ns = self.now_ns

    def leave(self, member: int, *, is_free: bool) -> None:
        if member in self.spares:
            self.check_needless(member)
        elif not is_free:
            self.check_idled_out(member)
        self.leaving.add(member)

    def check_refusal(self, action: Refuse[int] | Fail[int], new: int | None) -> None:
        match action:
            case Refuse(ticket, "QueueFull"):
                assert ticket == new
                assert self.is_line_full(ticket)
            case Refuse(ticket, "WaitExpired"):
                assert ticket == self.waiting[0]
                assert self.now_ns >= self.accepted[ticket] + self.settings.max_wait_s * S
            case Fail(ticket):
                assert self.hopeless
                assert self.now_ns < self.blocked_ns
                assert not self.busy

    def check_start(self) -> None:
        assert self.now_ns >= self.blocked_ns
        assert self.starting * self.slots < len(self.waiting) or self.starting < self.deficit()
        assert self.room() > 0

    def check_rest(self) -> None:
        assert self.settings.rest == "none"
        assert not self.resting
        assert self.pool.statistics() == NOTHING
        assert self.now_ns >= self.active_ns + self.settings.template_keep_alive_s * S
        assert not self.is_near(self.pool.announced.leads.rest_ns)

    def check_idled_out(self, member: int) -> None:
        assert member == self.idle.pop(0)
        assert self.now_ns >= self.since[member] + self.settings.keep_alive_s * S
        assert len(self.spares) + len(self.idle) + len(self.busy) >= self.settings.reserved
        assert self.free_slots() or self.spares or not self.is_expected()

    def check_needless(self, member: int) -> None:
        assert len(self.spares) > self.wanted_ready()
        assert member == self.spares.pop(0)
        assert self.now_ns >= self.since[member] + self.keep_alive_ns()
        assert self.free_slots() or self.spares or not self.is_expected()

    def is_line_full(self, new: int) -> bool:
        """Whether the line has no room for `new`, the last ticket in it."""
        before = [ticket for ticket in self.waiting if ticket != new]
        usable = self.settings.max_instances - len(self.idle) - len(self.busy) - len(self.leaving)
        could_run = usable * self.slots + self.free_slots()
        held_bytes = sum(map(size_bytes, before))
        is_large = held_bytes >= self.settings.max_waiting_memory_bytes and len(before) >= could_run
        return len(before) >= self.settings.max_waiting + could_run or is_large
