"""Every history of a pool: the invariants hold however events, starts, deaths and time interleave."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dispatcher.actions import Leave, Statistics
from dispatcher.settings import PoolSettings
from dispatcher.start_costs import Leads
from tests.kit.pool_model import PoolModel, S, size_bytes
from tests.kit.pools import pool_settings

steps_ns = st.integers(0, 5 * S)
picks = st.integers(0, 1000)


class PoolMachine(PoolModel, RuleBasedStateMachine):
    """A pool and the simplest model of one. Tickets and members are numbers, never used twice."""

    @initialize(settings=pool_settings)
    def open(self, settings: PoolSettings) -> None:
        self.begin(settings)
        self.tick()

    def serve(self, ticket: int, *, again: bool) -> None:
        member = self.pool.take()
        if open_ones := self.open_ones():
            assert member == open_ones[0]
        else:
            assert member == (self.idle.pop() if self.idle else None)
        if member is not None:
            self.run(ticket, member)
            return
        self.waiting.append(ticket)
        if again:
            self.waiting.sort(key=self.accepted.__getitem__)
        self.active_ns = self.now_ns
        new = None if again else ticket
        must_refuse = not again and self.is_line_full(ticket)
        actions = self.pool.wait(ticket, self.accepted[ticket], self.now_ns, size_bytes=size_bytes(ticket), again=again)
        self.carry_out(actions, new=new)
        assert ticket in self.ended or not must_refuse

    @rule(count=st.integers(1, 4))
    def events(self, count: int) -> None:
        for _ in range(count):
            ticket = len(self.accepted)
            self.accepted[ticket] = self.now_ns
            self.now_ns += 1
            self.serve(ticket, again=False)

    @precondition(lambda self: self.running())
    @rule(pick=picks)
    def found_dead(self, pick: int) -> None:
        """The event got a dead instance, whose death is reported later."""
        running = self.running()
        member, ticket = running[pick % len(running)]
        self.busy[member][self.busy[member].index(ticket)] = None
        self.close(member)
        self.serve(ticket, again=True)

    @precondition(lambda self: self.spares)
    @rule(pick=picks)
    def spare_found_dead(self, pick: int) -> None:
        """Its death is reported later."""
        member = self.spares.pop(pick % len(self.spares))
        self.busy[member] = []
        self.close(member)

    @precondition(lambda self: self.busy)
    @rule(pick=picks)
    def last_call(self, pick: int) -> None:
        """One that is busy has begun its last call under `max_invocations`."""
        self.close(sorted(self.busy)[pick % len(self.busy)])

    @precondition(lambda self: self.idle or self.busy)
    @rule(pick=picks)
    def retire(self, pick: int) -> None:
        """Its memory is over `retire_memory`."""
        member = [*self.idle, *sorted(self.busy)][pick % (len(self.idle) + len(self.busy))]
        if member in self.busy:
            self.closed.add(member)
            assert self.pool.retire(member, self.now_ns) == []
            return
        self.idle.remove(member)
        self.leaving.add(member)
        first, *others = self.pool.retire(member, self.now_ns)
        assert first == Leave(member)
        self.carry_out(others)

    def close(self, member: int) -> None:
        self.closed.add(member)
        self.pool.close(member)

    @precondition(lambda self: self.waiting)
    @rule(pick=picks)
    def withdraw(self, pick: int) -> None:
        ticket = self.waiting[pick % len(self.waiting)]
        self.pool.withdraw(ticket)
        self.waiting.remove(ticket)
        self.end(ticket, "withdrawn")

    @precondition(lambda self: self.running())
    @rule(pick=picks)
    def freed(self, pick: int) -> None:
        running = self.running()
        member, ticket = running[pick % len(running)]
        if len(self.busy[member]) == self.slots:
            self.note_opened(member)
        self.busy[member].remove(ticket)
        self.end(ticket, "assigned")
        self.active_ns = self.used_ns = self.now_ns
        before_ns, is_closed, is_last = self.attended_ns, member in self.closed, not self.busy[member]
        if is_last:
            del self.busy[member]
            self.closed.discard(member)
        actions = self.pool.freed(member, self.now_ns)
        if is_closed and not is_last:
            assert actions == []
            return
        self.carry_out(actions, free=member)
        assert (member in self.leaving) == is_closed
        if not is_closed:  # the warm path starts nothing: what a block held up is for the tick that is due at its end
            self.attended_ns = before_ns

    @precondition(lambda self: self.starting)
    @rule()
    def started(self) -> None:
        self.starting -= 1
        self.members += 1
        self.active_ns = self.now_ns
        if self.hopeless:
            self.hopeless, self.blocked_ns = False, self.now_ns
        self.spares.append(self.members)
        self.since[self.members] = self.now_ns
        self.carry_out(self.pool.started(self.members, self.now_ns))

    @precondition(lambda self: self.starting)
    @rule(hopeless=st.booleans(), after_ns=st.integers(1, 5 * S))
    def start_failed(self, hopeless: bool, after_ns: int) -> None:
        self.starting -= 1
        self.hopeless = hopeless
        self.blocked_ns = self.now_ns + after_ns
        self.carry_out(self.pool.start_failed(self.now_ns, self.blocked_ns, hopeless=hopeless))

    @precondition(lambda self: self.spares or self.idle or self.busy or self.leaving)
    @rule(pick=picks, after_ns=steps_ns)
    def died(self, pick: int, after_ns: int) -> None:
        living = [*self.idle, *self.busy, *self.leaving, *self.spares]
        member = living[pick % len(living)]
        assert self.pool.is_leaving(member) == (member in self.leaving)
        if member not in self.leaving:
            self.refill_ns = max(self.refill_ns, self.now_ns + after_ns)
        if member in self.idle:
            self.idle.remove(member)
        if member in self.spares:
            self.spares.remove(member)
        if member in self.busy:
            self.used_ns = self.now_ns
        for ticket in self.busy.pop(member, []):
            if ticket is not None:
                self.end(ticket, "assigned")
        self.closed.discard(member)
        self.leaving.discard(member)
        self.carry_out(self.pool.died(member, self.now_ns, self.now_ns + after_ns))

    @rule(after_ns=st.integers(0, 10 * S), leads=st.sampled_from([Leads(2 * S, 2 * S), Leads(4 * S, 9 * S)]))
    def expect(self, after_ns: int, leads: Leads) -> None:
        self.pool.announced.leads = leads
        self.pool.announced.add(self.now_ns + after_ns)
        self.expected.add(self.now_ns + after_ns)

    @rule(step_ns=steps_ns)
    def pass_time(self, step_ns: int) -> None:
        self.now_ns += step_ns

    @rule()
    def tick(self) -> None:
        if self.now_ns >= self.blocked_ns:
            self.hopeless = False
        self.carry_out(self.pool.tick(self.now_ns))
        next_ns = self.pool.next_tick_ns(self.now_ns)
        assert next_ns is None or next_ns > self.now_ns, "a busy loop"

    @precondition(lambda self: self.pool.next_tick_ns(self.now_ns) is not None)
    @rule()
    def wake(self) -> None:
        next_ns = self.pool.next_tick_ns(self.now_ns)
        assert next_ns is not None
        before_ns, self.now_ns = self.now_ns, next_ns
        assert self.now_ns >= before_ns
        self.tick()

    @invariant()
    def nothing_is_forgotten(self) -> None:
        assert self.pool.statistics() == Statistics(
            self.starting,
            len(self.idle),
            len(self.busy),
            len(self.leaving),
            len(self.waiting),
            self.calls(),
            len(self.spares),
        )
        assert set(self.pool.members()) == {*self.spares, *self.idle, *self.busy, *self.leaving}
        running = [ticket for _, ticket in self.running()]
        assert len({*running}) == len(running)
        assert {*self.waiting, *running} | self.ended.keys() == self.accepted.keys()

    @invariant()
    def nobody_waits_beside_a_free_slot(self) -> None:
        assert not ((self.free_slots() or self.spares) and self.waiting)
        assert self.pool.has_free_slot == bool(self.free_slots())

    @invariant()
    def nobody_waits_in_vain(self) -> None:
        if self.hopeless and self.now_ns < self.blocked_ns and not self.busy:
            assert not self.waiting

    @invariant()
    def never_too_many(self) -> None:
        assert self.room() >= 0
        could_run = self.settings.max_instances * self.slots
        assert len(self.waiting) - self.calls() <= self.settings.max_waiting + could_run

    @invariant()
    def who_waits_has_a_start(self) -> None:
        if self.attended_ns >= self.blocked_ns:
            assert not self.may_start() or self.starting * self.slots >= len(self.waiting)

    @invariant()
    def what_is_reserved_or_announced_has_a_start(self) -> None:
        """At the latest once the due tick has run."""
        if self.now_ns >= self.blocked_ns and self.pool.next_tick_ns(self.now_ns) != self.now_ns:
            assert self.starting >= self.deficit() or not self.may_start()

    @invariant()
    def a_tick_comes_in_time(self) -> None:
        """No later than anything due in the model; the rule for `tick` checks that no tick is asked for in vain."""
        next_ns = self.pool.next_tick_ns(self.now_ns)
        for at_ns in self.due_times():
            assert next_ns is not None
            assert next_ns <= max(at_ns, self.now_ns)

    @invariant()
    def capacity_is_what_could_run(self) -> None:
        coming = (self.room() if self.may_start() else 0) + self.starting + len(self.spares)
        could_run = coming * self.slots + self.free_slots() - len(self.waiting)
        if self.hopeless and self.now_ns < self.blocked_ns and not (self.spares or self.idle or self.busy):
            could_run = 0
        assert self.pool.room(self.now_ns) == max(0, could_run)

    def due_times(self) -> list[int]:
        times = [self.accepted[ticket] + int(self.settings.max_wait_s * S) for ticket in self.waiting[:1]]
        if self.hopeless:
            times.append(self.blocked_ns)
        if self.may_start() and self.lacks_at(max(self.now_ns, self.blocked_ns, self.refill_ns)):
            times.append(max(self.blocked_ns, self.refill_ns))
        if len(self.waiting) > self.starting * self.slots and self.may_start():
            times.append(self.blocked_ns)
        missing = max(0, self.settings.reserved - len(self.idle) - len(self.busy))
        surplus = len(self.idle) + len(self.busy) - self.settings.reserved
        if surplus > 0 and self.idle and not self.spares and not self.awaits_announced():
            times.append(self.since[self.idle[0]] + self.keep_alive_ns())
        if len(self.spares) > missing and not (self.busy or self.waiting or self.awaits_announced()):
            times.append(max(self.since[self.spares[0]], self.used_ns) + self.keep_alive_ns())
        if self.settings.rest == "none" and self.may_rest() and not self.awaits_announced():
            times.append(self.active_ns + int(self.settings.template_keep_alive_s * S))
        return times

    def lacks_at(self, at_ns: int) -> bool:
        """Whether instances that no event waits for are missing now and then: what was announced may have passed."""
        now_ns, now = self.now_ns, self.deficit() > self.starting
        self.now_ns = at_ns
        then = self.deficit() > self.starting
        self.now_ns = now_ns
        return now and then

    def teardown(self) -> None:
        """Whatever happened, every event ends."""
        if not hasattr(self, "pool"):
            return
        while self.starting or self.waiting or self.busy:
            if self.starting:
                self.started()
            elif self.busy:
                self.died(len(self.idle), 0)
            else:
                self.wake()
        assert self.ended.keys() == self.accepted.keys()


PoolMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=50)
TestPool = pytest.mark.invariant("I1", "I2", "I5", "I6", "I7", "I8", "I9")(PoolMachine.TestCase)
