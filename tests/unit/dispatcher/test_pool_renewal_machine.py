"""Every history of a pool whose function is renewed again and again, and at last served no more.

What holds of one version alone, `test_pool_machine.py` checks.
"""

from collections.abc import Sequence

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dispatcher.actions import Action, Assign, Fail, Leave, Refuse, Rest, Start, Statistics
from dispatcher.pool import Pool
from dispatcher.settings import PoolSettings

S = 1_000_000_000
picks = st.integers(0, 1000)
pool_settings = st.builds(
    PoolSettings,
    max_instances=st.integers(1, 4),
    concurrency=st.sampled_from([1, 1, 2, 3]),
    max_waiting=st.integers(0, 6),
    max_wait_s=st.sampled_from([2.0, 10.0]),
    keep_alive_s=st.sampled_from([0.0, 1.0, 10.0]),
    spare=st.integers(0, 2),
    reserved=st.integers(0, 2),
    rest=st.sampled_from(["template", "none"]),
    template_keep_alive_s=st.sampled_from([0.0, 3.0]),
)


class RenewalMachine(RuleBasedStateMachine):
    """A pool and a simple model. Tickets and members are numbers, never used twice."""

    @initialize(settings=pool_settings)
    def open(self, settings: PoolSettings) -> None:
        self.settings = settings
        self.now_ns = 100 * S
        self.tickets = self.members = self.starting = 0
        self.waiting: list[int] = []
        self.ended: set[int] = set()
        self.spares: list[int] = []
        self.idle: list[int] = []
        self.busy: dict[int, list[int]] = {}
        """the tickets that each one runs"""
        self.closed: set[int] = set()
        """busy with their last calls under `max_invocations`"""
        self.going: set[int] = set()
        """asked to leave, and not dead yet"""
        self.outdated: set[int] = set()
        self.is_ending = self.has_rested = False
        self.pool: Pool[int, int] = Pool(settings, self.now_ns)
        self.tick()

    def end(self, ticket: int) -> None:
        assert ticket not in self.ended
        self.ended.add(ticket)

    def run(self, ticket: int, member: int) -> None:
        assert member not in self.outdated | self.closed, "it is given nothing more"
        self.busy.setdefault(member, []).append(ticket)
        assert len(self.busy[member]) <= self.settings.concurrency

    def free_ones(self) -> list[int]:
        """Every instance of this version with a free slot."""
        given = self.busy.keys() - self.outdated - self.closed
        return [*self.idle, *(one for one in given if len(self.busy[one]) < self.settings.concurrency)]

    def carry_out(self, actions: "Sequence[Action[int, int]]", free: Sequence[int] = ()) -> None:
        """`free`: members that just got a free slot."""
        coming = list(free)
        for action in actions:
            match action:
                case Assign(ticket, member):
                    if member in self.spares:
                        coming.append(self.spares.pop(0))
                    assert ticket == self.waiting.pop(0)
                    assert member == next(one for one in coming if self.has_free_slot(one))
                    self.run(ticket, member)
                case Leave(member):
                    self.take_away(member, coming)
                case Start():
                    self.starting += 1
                case Refuse(ticket) | Fail(ticket):
                    self.waiting.remove(ticket)
                    self.end(ticket)
                case Rest():
                    assert [*self.spares, *self.idle, *self.busy, *self.going, *self.waiting] == []
                    assert self.starting == 0
                    self.has_rested = True
        self.idle += [one for one in coming if one not in self.busy]

    def running(self) -> set[int]:
        """The tickets that run."""
        return {ticket for tickets in self.busy.values() for ticket in tickets}

    def has_free_slot(self, member: int) -> bool:
        return len(self.busy.get(member, [])) < self.settings.concurrency

    def take_away(self, member: int, coming: list[int]) -> None:
        assert member not in self.going
        assert member not in self.busy
        next(ones for ones in (coming, self.spares, self.idle) if member in ones).remove(member)
        self.going.add(member)

    @precondition(lambda self: not self.is_ending)
    @rule()
    def event(self) -> None:
        ticket, self.tickets = self.tickets, self.tickets + 1
        member = self.pool.take()
        if member is not None:
            assert member in self.free_ones()
            if member in self.idle:
                assert self.idle.pop() == member
            self.run(ticket, member)
            return
        assert self.free_ones() == []
        self.waiting.append(ticket)
        self.carry_out(self.pool.wait(ticket, self.now_ns, self.now_ns))

    @precondition(lambda self: self.busy)
    @rule(pick=picks)
    def freed(self, pick: int) -> None:
        running = [(member, ticket) for member, tickets in self.busy.items() for ticket in tickets]
        member, ticket = running[pick % len(running)]
        self.busy[member].remove(ticket)
        self.end(ticket)
        is_last = not self.busy[member]
        must_leave = is_last and member in self.outdated | self.closed
        if is_last:
            del self.busy[member]
            self.closed.discard(member)
        is_given_more = member not in self.outdated | self.closed
        self.carry_out(self.pool.freed(member, self.now_ns), free=[member] if is_last or is_given_more else [])
        assert (member in self.going) == must_leave

    @precondition(lambda self: self.busy)
    @rule(pick=picks)
    def last_call(self, pick: int) -> None:
        """One that is busy has begun its last call under `max_invocations`."""
        member = sorted(self.busy)[pick % len(self.busy)]
        self.closed.add(member)
        self.pool.close(member)

    @precondition(lambda self: self.starting)
    @rule()
    def started(self) -> None:
        self.starting -= 1
        self.members += 1
        self.spares.append(self.members)
        self.carry_out(self.pool.started(self.members, self.now_ns))

    @precondition(lambda self: self.starting)
    @rule(hopeless=st.booleans(), after_ns=st.integers(1, 5 * S))
    def start_failed(self, hopeless: bool, after_ns: int) -> None:
        self.starting -= 1
        self.carry_out(self.pool.start_failed(self.now_ns, self.now_ns + after_ns, hopeless=hopeless))

    @precondition(lambda self: self.spares or self.idle or self.busy or self.going)
    @rule(pick=picks, after_ns=st.integers(0, 5 * S))
    def died(self, pick: int, after_ns: int) -> None:
        living = [*self.idle, *self.busy, *sorted(self.going), *self.spares]
        member = living[pick % len(living)]
        assert self.pool.is_leaving(member) == (member in self.going or member in self.outdated)
        for ready in (self.spares, self.idle):
            if member in ready:
                ready.remove(member)
        for ticket in self.busy.pop(member, []):
            self.end(ticket)
        self.closed.discard(member)
        self.going.discard(member)
        self.outdated.discard(member)
        self.carry_out(self.pool.died(member, self.now_ns, self.now_ns + after_ns))

    @rule(settings=pool_settings, count=st.integers(0, 3))
    def renew(self, settings: PoolSettings, count: int) -> None:
        """Starts in flight are void; the fresh instances get the waiting events."""
        fresh = list(range(self.members + 1, self.members + 1 + count))
        self.members += count
        self.settings, self.is_ending, self.starting = settings, False, 0
        self.outdated |= {*self.spares, *self.idle, *self.busy, *self.going}
        before = [*self.spares, *self.idle]
        self.spares += fresh
        actions = self.pool.renew(settings, fresh, self.now_ns)
        assert actions[: len(before)] == [Leave(member) for member in before]
        self.carry_out(actions)
        self.outdated |= self.going & set(fresh)

    @rule()
    def wind_up(self) -> None:
        self.is_ending, self.has_rested = True, False
        self.carry_out(self.pool.wind_up(self.now_ns))

    @rule(step_ns=st.integers(0, 5 * S))
    def pass_time(self, step_ns: int) -> None:
        self.now_ns += step_ns

    @rule()
    def tick(self) -> None:
        self.carry_out(self.pool.tick(self.now_ns))

    @invariant()
    def nothing_is_forgotten(self) -> None:
        assert self.pool.statistics() == Statistics(
            self.starting,
            len(self.idle),
            len(self.busy),
            len(self.going),
            len(self.waiting),
            len(self.running()),
            len(self.spares),
        )
        assert set(self.pool.members()) == {*self.spares, *self.idle, *self.busy, *self.going}
        assert {*self.waiting} | self.running() | self.ended == set(range(self.tickets))

    @invariant()
    def no_more_than_may_be_are_made(self) -> None:
        """Counts the current version. Instances of an earlier one take up room, but may have had a higher limit."""
        current = len(self.spares) + len(self.idle) + self.starting + len(self.busy.keys() - self.outdated)
        assert current <= self.settings.max_instances

    @invariant()
    def nobody_waits_beside_a_free_slot(self) -> None:
        assert not ((self.free_ones() or self.spares) and self.waiting)
        assert self.pool.has_free_slot == bool(self.free_ones())

    def teardown(self) -> None:
        """Whatever happened, every event ends, and nothing of a removed function stays."""
        if not hasattr(self, "pool"):
            return
        self.wind_up()
        for _ in range(1000):
            if self.has_rested:
                break
            if self.starting:
                self.started()
            elif self.busy:
                self.freed(0)
            elif self.going:
                self.died(len(self.idle), 0)
            else:
                next_ns = self.pool.next_tick_ns(self.now_ns)
                assert next_ns is not None, "nothing would ever happen again"
                self.now_ns = next_ns
                self.tick()
        assert self.has_rested
        assert self.ended == set(range(self.tickets))
        assert self.pool.members() == []


RenewalMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=50)
TestPoolRenewal = pytest.mark.invariant("I1", "I2", "I5", "I6", "I10")(RenewalMachine.TestCase)
