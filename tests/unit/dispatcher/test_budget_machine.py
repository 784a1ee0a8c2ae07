"""Every history of the budget: its promises hold however events, starts, calls, growth and time interleave."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dispatcher.budget import LEAST_BYTES, PATIENCE_NS, Booking, Budget, Limits
from dispatcher.relief import Holder, Idle, Relief, relieve

MS = 1_000_000
MIB = LEAST_BYTES
picks = st.integers(0, 1000)


class Function:
    """The simplest pool: events that wait, and instances by number."""

    def __init__(self, reserved: int) -> None:
        self.reserved = reserved
        self.must_load = True
        self.waiting = 0
        self.starting: list[Booking[int]] = []
        self.idle: dict[int, int] = {}
        self.busy: set[int] = set()
        self.closed: set[int] = set()
        self.leaving: set[int] = set()
        self.uses: dict[int, int] = {}

    def living(self) -> int:
        return len(self.idle) + len(self.busy) + len(self.closed) + len(self.leaving)

    def wants(self) -> bool:
        return self.waiting > len(self.starting)


class BudgetMachine(RuleBasedStateMachine):
    """A budget, and functions that do as it says. `settle` is what the machine's I/O does after each occurrence."""

    @initialize(
        reserved=st.lists(st.integers(0, 2), min_size=2, max_size=5),
        memory_mib=st.sampled_from([None, 4, 8, 20]),
        places=st.sampled_from([None, 1, 3, 6]),
    )
    def open(self, reserved: list[int], memory_mib: int | None, places: int | None) -> None:
        room = places or 1000
        kept = [min(count, max(0, (room - 1) // len(reserved))) for count in reserved]
        memory_bytes = None if memory_mib is None else memory_mib * MIB
        self.limits = Limits(memory_bytes=memory_bytes, max_instances=places, loads=1, forks=3)
        self.budget: Budget[int, int] = Budget(self.limits)
        self.functions = [Function(count) for count in kept]
        for number, function in enumerate(self.functions):
            self.budget.open(number, function.reserved)
        self.sizes: dict[int, int] = {}
        self.fixed = self.members = 0
        self.now_ns = 1000 * MS
        self.again_ns: int | None = None

    def charge(self) -> int:
        """The charge of everything, from scratch."""
        starting = sum(booking.size_bytes for function in self.functions for booking in function.starting)
        return self.fixed + starting + sum(self.sizes.values())

    def count(self) -> int:
        return sum(function.living() + len(function.starting) for function in self.functions)

    def start(self, number: int) -> None:
        """Ask for a start, and check the answer."""
        function, count, charge = self.functions[number], self.count(), self.charge()
        held = function.living() + len(function.starting)
        beyond_none = sum(min(one.living() + len(one.starting), one.reserved) for one in self.functions)
        booking = self.budget.admit(number, self.now_ns, loads=function.must_load)
        if booking is None:
            assert number in self.budget.waiting()
            return
        assert number not in self.budget.waiting()
        limits = self.limits
        assert limits.max_instances is None or count < limits.max_instances
        is_least = count == 0 or (count == beyond_none and (held == 0 or held >= function.reserved))
        assert is_least or limits.memory_bytes is None or charge + booking.size_bytes <= limits.memory_bytes
        assert not any(one.loads for one in function.starting)
        function.starting.append(booking)

    def ask(self, number: int) -> None:
        """Ask for all starts that it needs, until it has to wait."""
        while self.functions[number].wants() and number not in self.budget.waiting():
            self.start(number)

    def settle(self) -> None:
        for number in self.budget.waiting():
            if not self.functions[number].wants():
                self.budget.withdraw(number)
        while (chosen := self.budget.next(self.now_ns)) is not None:
            self.ask_first(chosen)
        relief = relieve(self.budget, [self.holder(number) for number in range(len(self.functions))], self.now_ns)
        self.again_ns = relief.again_ns
        assert relief.again_ns is None or relief.again_ns > self.now_ns, "a busy loop"
        self.carry_out(relief)

    def ask_first(self, number: int) -> None:
        """The budget has chosen the function, so it gets a start, unless its template came or went meanwhile."""
        before = len(self.functions[number].starting)
        self.start(number)
        is_started = len(self.functions[number].starting) == before + 1
        assert is_started or self.budget.next(self.now_ns) != number, "it does not get what it was chosen for"
        self.ask(number)

    def holder(self, number: int) -> Holder[int, int]:
        function = self.functions[number]
        idle = [Idle(member, function.uses[member], since_ns) for member, since_ns in function.idle.items()]
        surplus = len(idle) + len(function.busy) - function.reserved
        return Holder(owner=number, surplus=surplus, start_cost_s=0.003, idle=idle, busy=sorted(function.busy))

    def carry_out(self, relief: Relief[int, int]) -> None:
        for number, member in relief.evicted:
            function = self.functions[number]
            assert len(function.idle) + len(function.busy) > function.reserved, "a reserved instance was evicted"
            del function.idle[member]
            function.leaving.add(member)
        for number, member in relief.given_up:
            function = self.functions[number]
            assert len(function.idle) + len(function.busy) > function.reserved, "a reserved instance was given up"
            function.busy.remove(member)
            function.closed.add(member)

    @rule(pick=picks, must_load=st.booleans())
    def template_changes(self, pick: int, must_load: bool) -> None:
        self.functions[pick % len(self.functions)].must_load = must_load

    @rule(pick=picks, count=st.integers(1, 4))
    def events(self, pick: int, count: int) -> None:
        number = pick % len(self.functions)
        function = self.functions[number]
        for _ in range(count):
            if function.idle:
                member, _ = function.idle.popitem()
                function.busy.add(member)
                function.uses[member] += 1
                continue
            function.waiting += 1
            if number not in self.budget.waiting():
                self.start(number)
        self.settle()

    @precondition(lambda self: any(function.waiting for function in self.functions))
    @rule(pick=picks)
    def all_leave_the_line(self, pick: int) -> None:
        waiting = [function for function in self.functions if function.waiting]
        waiting[pick % len(waiting)].waiting = 0
        self.settle()

    @precondition(lambda self: any(function.starting for function in self.functions))
    @rule(pick=picks, succeeds=st.booleans())
    def start_ends(self, pick: int, succeeds: bool) -> None:
        starting = [function for function in self.functions if function.starting]
        function = starting[pick % len(starting)]
        booking = function.starting.pop(0)
        if not succeeds:
            self.budget.failed(booking)
            self.ask(self.functions.index(function))
        else:
            self.members += 1
            self.budget.started(booking, self.members, self.now_ns)
            self.sizes[self.members] = booking.size_bytes
            function.uses[self.members] = 0
            self.has_slot(function, self.members)
        self.settle()

    def has_slot(self, function: Function, member: int) -> None:
        if function.waiting:
            function.waiting -= 1
            function.busy.add(member)
            function.uses[member] += 1
        else:
            function.idle[member] = self.now_ns

    @precondition(lambda self: any(function.busy or function.closed for function in self.functions))
    @rule(pick=picks)
    def call_ends(self, pick: int) -> None:
        running = [(one, member) for one in self.functions for member in sorted(one.busy | one.closed)]
        function, member = running[pick % len(running)]
        if member in function.closed:
            function.closed.remove(member)
            function.leaving.add(member)
        else:
            function.busy.remove(member)
            self.has_slot(function, member)
        self.settle()

    @precondition(lambda self: any(function.living() for function in self.functions))
    @rule(pick=picks, leaving_first=st.booleans())
    def dies(self, pick: int, leaving_first: bool) -> None:
        everyone = [(one, m) for one in self.functions for m in sorted({*one.idle, *one.busy, *one.closed})]
        leaving = [(one, m) for one in self.functions for m in sorted(one.leaving)]
        chosen = leaving if leaving and (leaving_first or not everyone) else everyone
        function, member = chosen[pick % len(chosen)]
        function.idle.pop(member, None)
        for place in (function.busy, function.closed, function.leaving):
            place.discard(member)
        del self.sizes[member]
        self.budget.ended(member)
        self.settle()

    @precondition(lambda self: self.sizes)
    @rule(pick=picks, size_bytes=st.integers(0, 5 * MIB))
    def measured(self, pick: int, size_bytes: int) -> None:
        member = sorted(self.sizes)[pick % len(self.sizes)]
        self.sizes[member] = max(MIB, size_bytes)
        self.budget.measured(member, size_bytes)
        self.settle()

    @rule(size_bytes=st.integers(0, 3 * MIB))
    def templates(self, size_bytes: int) -> None:
        self.fixed = size_bytes
        self.budget.charge_fixed(size_bytes)
        self.settle()

    @rule(step_ns=st.integers(0, 400 * MS))
    def pass_time(self, step_ns: int) -> None:
        self.now_ns += step_ns
        self.settle()

    @precondition(lambda self: self.again_ns is not None)
    @rule()
    def wake(self) -> None:
        assert self.again_ns is not None
        self.now_ns = max(self.now_ns, self.again_ns)
        self.settle()

    @invariant()
    def the_sums_are_right(self) -> None:
        assert self.budget.charged_bytes == self.charge()
        assert self.budget.count == self.count()

    @invariant()
    def instances_never_exceed_the_limit(self) -> None:
        assert self.limits.max_instances is None or self.count() <= self.limits.max_instances

    @invariant()
    def starts_are_bounded(self) -> None:
        starting = [booking for function in self.functions for booking in function.starting]
        young = [booking for booking in starting if booking.begun_ns > self.now_ns - 1000 * MS]
        assert sum(booking.loads for booking in young) <= self.limits.loads
        assert sum(not booking.loads for booking in young) <= self.limits.forks

    @invariant()
    def who_waits_has_a_reason(self) -> None:
        """It waits for starts in flight, for instances that were asked to go, or for the end of a turn."""
        for number in self.budget.waiting():
            assert self.functions[number].wants()
        if not self.budget.waiting() or self.again_ns is not None:
            return
        needy = [number for number in self.budget.waiting() if not self.functions[number].living()]
        starting = any(function.starting for function in self.functions)
        going = any(function.closed or function.leaving for function in self.functions)
        above = any(len(one.idle) + len(one.busy) > one.reserved for one in self.functions)
        assert not needy or starting or going or not above

    def teardown(self) -> None:
        """Nobody starves: with calls that end and time that passes, every function that waits runs something."""
        if not hasattr(self, "functions"):
            return
        hungry = {number for number, function in enumerate(self.functions) if function.waiting}
        for function in self.functions:
            function.waiting += 100 * bool(function.waiting)
        before = {number: sum(self.functions[number].uses.values()) for number in hungry}
        for _ in range(60):
            if all(sum(self.functions[number].uses.values()) > before[number] for number in hungry):
                return
            self.one_round()
        unserved = {n for n in hungry if sum(self.functions[n].uses.values()) == before[n]}
        assert not self.above_reserve(), f"{unserved} starve"

    def above_reserve(self) -> bool:
        return any(len(one.idle) + len(one.busy) + len(one.starting) > one.reserved for one in self.functions)

    def one_round(self) -> None:
        """Starts succeed, calls end, those that leave are gone, and time passes."""
        for number, function in enumerate(self.functions):
            while function.starting:
                self.start_ends(self.functions_starting().index(function), True)
            self.ask(number)
            for member in sorted(function.leaving):
                function.leaving.discard(member)
                del self.sizes[member]
                self.budget.ended(member)
        running = sum(len(function.busy) + len(function.closed) for function in self.functions)
        for pick in reversed(range(running)):  # each once: those that leave are behind those to come
            self.call_ends(pick)
        self.now_ns += PATIENCE_NS
        self.settle()

    def functions_starting(self) -> list[Function]:
        return [function for function in self.functions if function.starting]


BudgetMachine.TestCase.settings = settings(stateful_step_count=40)
TestBudget = pytest.mark.invariant("I43", "I44")(BudgetMachine.TestCase)
