"""Every history of a pool whose instances are not shared: one for each event, or one for each key."""

from collections.abc import Sequence

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dispatcher.actions import Action, Assign, Fail, Leave, Refuse, Rest, Start, Statistics
from dispatcher.bindings import PATIENCE_NS, TURN_NS
from dispatcher.keys import Reuse
from dispatcher.pool import Pool
from dispatcher.settings import PoolSettings

S = 1_000_000_000
KEY, OTHER_KEY, NEVER = Reuse("key:header.k"), Reuse("key:header.m"), Reuse("never")
picks = st.integers(0, 1000)
pool_settings = st.builds(
    PoolSettings,
    reuse=st.sampled_from([KEY, KEY, KEY, OTHER_KEY, NEVER]),
    max_instances=st.integers(1, 4),
    max_waiting=st.sampled_from([0, 2, 20]),
    max_wait_s=st.sampled_from([2.0, 10.0]),
    keep_alive_s=st.sampled_from([0.0, 1.0, 10.0]),
    spare=st.integers(0, 2),
    reserved=st.sampled_from([0, 0, 1, 2]),
)


class KeysMachine(RuleBasedStateMachine):
    """A pool and a simple model. Tickets and members are numbers, never used twice; every ticket may have a key."""

    @initialize(settings=pool_settings)
    def open(self, settings: PoolSettings) -> None:
        self.settings = settings
        self.now_ns = self.blocked_ns = self.attended_ns = 100 * S
        self.hopeless = False
        self.keys: dict[int, str | None] = {}
        """of every ticket, however it was meant by the settings at that time"""
        self.accepted: dict[int, int] = {}
        self.waiting: list[int] = []
        self.ended: set[int] = set()
        self.spares: list[int] = []
        self.kept: dict[int, int] = {}
        """since when each is idle, in this order"""
        self.busy: dict[int, int | None] = {}
        """the ticket that each one runs; None for one that found it dead"""
        self.bound: dict[int, str] = {}
        """the keys of kept and busy ones"""
        self.bound_ns: dict[int, int] = {}
        self.closed: set[int] = set()
        self.leaving: set[int] = set()
        self.outdated: set[int] = set()
        self.starting = self.members = 0
        self.pool: Pool[int, int] = Pool(settings, self.now_ns)
        self.tick()

    def key(self, ticket: int) -> str | None:
        return None if self.settings.reuse == NEVER else self.keys[ticket]

    def seekers(self) -> list[int]:
        """The first waiting event of each key that has no instance, and every one without a key."""
        seen: set[str | None] = set(self.bound.values())
        found = []
        for ticket in self.waiting:
            if self.key(ticket) not in seen:
                found.append(ticket)
            if self.key(ticket) is not None:
                seen.add(self.key(ticket))
        return found

    def used(self) -> int:
        return len(self.kept) + len(self.busy) + len(self.leaving - self.outdated)

    def living(self) -> int:
        return self.used() + len(self.spares) + self.starting

    def carry_out(self, actions: "Sequence[Action[int, int]]", free: int | None = None) -> None:
        """`free`: the member that has just finished a call."""
        for action in actions:
            match action:
                case Assign(ticket, member):
                    self.assign(ticket, member, free)
                case Leave(member):
                    self.leave(member, free)
                case Start():
                    assert self.now_ns >= self.blocked_ns
                    assert self.living() < self.settings.max_instances + self.settings.spare
                    self.starting += 1
                case Refuse(ticket) | Fail(ticket):
                    self.waiting.remove(ticket)
                    self.ended.add(ticket)
                case Rest():
                    raise AssertionError
        if not any(isinstance(action, Refuse) and action.code == "QueueFull" for action in actions):
            self.attended_ns = self.now_ns

    def assign(self, ticket: int, member: int, free: int | None) -> None:
        key = self.key(ticket)
        if member == free:
            assert self.bound[member] == key, "an instance never serves two keys"
            assert ticket == next(one for one in self.waiting if self.key(one) == key)
            del self.kept[member]
        else:
            assert member == self.spares.pop(0)
            assert ticket == self.seekers()[0]
            assert self.used() < self.settings.max_instances
            assert key not in self.bound.values(), "a key never has two instances"
            self.bind(member, key)
        self.waiting.remove(ticket)
        self.busy[member] = ticket

    def bind(self, member: int, key: str | None) -> None:
        if key is None:
            self.closed.add(member)
        else:
            self.bound[member] = key
            self.bound_ns[member] = self.now_ns

    def leave(self, member: int, free: int | None) -> None:
        if member in self.spares:
            assert len(self.spares) > self.settings.reserved
            self.spares.remove(member)
        elif member in self.kept:
            has_idled = self.now_ns >= self.kept[member] + self.settings.keep_alive_s * S
            lacking = len(self.seekers()) > self.settings.max_instances - len(self.busy) - len(self.kept)
            gives_way = (
                member == free
                and self.now_ns >= min(map(self.accepted.__getitem__, self.seekers())) + PATIENCE_NS
                and self.now_ns >= self.bound_ns[member] + TURN_NS
            )
            assert has_idled or (lacking and (member == next(iter(self.kept)) or gives_way))
            del self.kept[member]
        self.closed.discard(member)
        self.bound.pop(member, None)
        self.leaving.add(member)

    def serve(self, ticket: int, *, again: bool) -> None:
        key = self.key(ticket)
        member = None if key is None else self.pool.take_of(key)
        holder = next((one for one, its in self.bound.items() if its == key and one in self.kept), None)
        assert member == holder
        assert self.pool.take() is None
        if member is not None:
            del self.kept[member]
            self.busy[member] = ticket
            return
        can_start = len(self.seekers()) < self.settings.max_instances - len(self.busy) - len(
            self.leaving - self.outdated
        )
        is_new = key is None or key not in {*self.bound.values(), *map(self.key, self.waiting)}
        self.waiting.append(ticket)
        self.waiting.sort(key=self.accepted.__getitem__)
        actions = self.pool.wait(ticket, self.accepted[ticket], self.now_ns, key=key, again=again)
        if can_start and is_new:
            assert Refuse(ticket, "QueueFull") not in actions
        self.carry_out(actions)

    @rule(keys=st.lists(st.sampled_from([None, "a", "b", "c", "d"]), min_size=1, max_size=4))
    def events(self, keys: list[str | None]) -> None:
        for key in keys:
            ticket = len(self.accepted)
            self.accepted[ticket], self.keys[ticket] = self.now_ns, key
            self.now_ns += 1
            self.serve(ticket, again=False)

    @precondition(lambda self: self.running())
    @rule(pick=picks)
    def freed(self, pick: int) -> None:
        member, ticket = self.running()[pick % len(self.running())]
        del self.busy[member]
        self.ended.add(ticket)
        is_last = member in self.closed | self.outdated
        if not is_last:
            self.kept[member] = self.now_ns
        before_ns = self.attended_ns
        self.carry_out(self.pool.freed(member, self.now_ns), free=member)
        assert not is_last or member in self.leaving
        if member in self.busy:  # it went on with its key: what a block held up is for the tick that is due at its end
            self.attended_ns = before_ns

    def running(self) -> list[tuple[int, int]]:
        return [(member, ticket) for member, ticket in self.busy.items() if ticket is not None]

    @precondition(lambda self: self.running())
    @rule(pick=picks)
    def found_dead(self, pick: int) -> None:
        """The event got a dead instance, whose death is reported later."""
        member, ticket = self.running()[pick % len(self.running())]
        self.busy[member] = None
        self.close(member)
        self.serve(ticket, again=True)

    @precondition(lambda self: self.busy)
    @rule(pick=picks)
    def last_call(self, pick: int) -> None:
        self.close(sorted(self.busy)[pick % len(self.busy)])

    @precondition(lambda self: self.kept)
    @rule(pick=picks)
    def retire(self, pick: int) -> None:
        """The memory of an idle one is over `retire_memory`."""
        member = list(self.kept)[pick % len(self.kept)]
        del self.kept[member]
        self.bound.pop(member, None)
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
        ticket = self.waiting.pop(pick % len(self.waiting))
        self.pool.withdraw(ticket)
        self.ended.add(ticket)

    @precondition(lambda self: self.starting)
    @rule()
    def started(self) -> None:
        self.starting -= 1
        self.members += 1
        if self.hopeless:
            self.hopeless, self.blocked_ns = False, self.now_ns
        self.spares.append(self.members)
        self.carry_out(self.pool.started(self.members, self.now_ns))

    @precondition(lambda self: self.starting)
    @rule(hopeless=st.booleans(), after_ns=st.integers(1, 5 * S))
    def start_failed(self, hopeless: bool, after_ns: int) -> None:
        self.starting -= 1
        self.hopeless, self.blocked_ns = hopeless, self.now_ns + after_ns
        self.carry_out(self.pool.start_failed(self.now_ns, self.blocked_ns, hopeless=hopeless))

    @precondition(lambda self: self.pool.members())
    @rule(pick=picks)
    def died(self, pick: int) -> None:
        member = sorted(self.pool.members())[pick % len(self.pool.members())]
        ticket = self.busy.pop(member, None)
        if ticket is not None:
            self.ended.add(ticket)
        if member in self.spares:
            self.spares.remove(member)
        for states in (self.kept, self.bound):
            states.pop(member, None)
        for group in (self.closed, self.leaving, self.outdated):
            group.discard(member)
        self.carry_out(self.pool.died(member, self.now_ns, self.now_ns))

    @rule(settings=pool_settings, count=st.integers(0, 2))
    def renew(self, settings: PoolSettings, count: int) -> None:
        fresh = list(range(self.members + 1, self.members + 1 + count))
        self.members += count
        ready = [*self.spares, *self.kept]
        self.outdated |= {*ready, *self.busy, *self.leaving}
        self.leaving |= {*ready}
        self.closed |= {*self.busy}
        stays = settings.reuse == self.settings.reuse
        self.bound = {one: key for one, key in self.bound.items() if one in self.busy and stays}
        self.settings, self.starting, self.hopeless, self.blocked_ns = settings, 0, False, self.now_ns
        self.kept.clear()
        self.spares = list(fresh)
        actions = self.pool.renew(settings, fresh, self.now_ns, self.key)
        surplus = [one for one in fresh if Leave(one) in actions]
        assert actions[: len(ready)] == [Leave(member) for member in ready]
        assert len(self.busy) + count - len(surplus) <= max(len(self.busy), settings.max_instances + settings.spare)
        self.outdated |= {*surplus}
        self.leaving |= {*surplus}
        self.spares = [one for one in fresh if one not in surplus]
        self.carry_out([one for one in actions[len(ready) :] if one not in [Leave(gone) for gone in surplus]])

    @rule(step_ns=st.integers(0, 5 * S))
    def pass_time(self, step_ns: int) -> None:
        self.now_ns += step_ns

    @rule()
    def tick(self) -> None:
        self.hopeless = self.hopeless and self.now_ns < self.blocked_ns
        self.carry_out(self.pool.tick(self.now_ns))
        next_ns = self.pool.next_tick_ns(self.now_ns)
        assert next_ns is None or next_ns > self.now_ns, "a busy loop"

    @invariant()
    def nothing_is_forgotten(self) -> None:
        busy, going = len(self.busy), len(self.leaving)
        calls = len(self.running()) + sum(ticket is None for ticket in self.busy.values())
        assert self.pool.statistics() == Statistics(
            self.starting, len(self.kept), busy, going, len(self.waiting), calls, len(self.spares)
        )
        assert {*self.waiting, *(ticket for _, ticket in self.running())} | self.ended == self.accepted.keys()

    @invariant()
    def nobody_waits_in_vain(self) -> None:
        keys = {self.key(ticket) for ticket in self.waiting}
        assert not keys & {self.bound[member] for member in self.kept}, "its instance is idle"
        has_room = self.used() < self.settings.max_instances
        assert not (self.seekers() and self.spares and has_room)
        if self.seekers() and has_room and self.attended_ns >= self.blocked_ns:
            needed = min(len(self.seekers()), self.settings.max_instances - self.used())
            assert self.starting >= min(needed, self.settings.max_instances + self.settings.spare - self.living())

    @invariant()
    def there_are_never_too_many(self) -> None:
        old = len(self.outdated & self.busy.keys())
        assert len(self.kept) + len(self.busy) - old <= self.settings.max_instances
        assert self.living() - old <= self.settings.max_instances + self.settings.spare

    @invariant()
    def capacity_is_what_could_run(self) -> None:
        usable = self.settings.max_instances - len(self.busy) - len(self.leaving - self.outdated)
        cannot = self.hopeless and self.now_ns < self.blocked_ns and not self.spares
        assert self.pool.room(self.now_ns) == (0 if cannot else max(0, usable - len(self.waiting)))

    def teardown(self) -> None:
        """Whatever happened, every event ends."""
        if not hasattr(self, "pool"):
            return
        for _ in range(1000):
            if not self.waiting and not self.busy:
                break
            if self.starting:
                self.started()
            elif self.leaving or self.busy:
                self.died(0)
            else:
                self.now_ns = self.pool.next_tick_ns(self.now_ns) or self.now_ns
                self.tick()
        assert self.ended == self.accepted.keys()


KeysMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=50)
TestPoolKeys = pytest.mark.invariant("I1", "I2", "I5", "I6", "I7", "I9", "I10")(KeysMachine.TestCase)
"""In I7, the order of acceptance is that of each key, and of the events that seek an instance."""
