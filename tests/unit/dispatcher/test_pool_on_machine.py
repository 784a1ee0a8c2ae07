"""Every history of a pool on a machine that has no room now and then, and takes instances away from it."""

from collections.abc import Sequence

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from dispatcher.actions import Action, Leave, Start
from dispatcher.settings import PoolSettings
from tests.kit.pools import pool_settings
from tests.unit.dispatcher.test_pool_machine import PoolMachine, picks


class PoolOnMachine(PoolMachine):
    """What the pool decides to start is put off while the machine is full."""

    @initialize(settings=pool_settings)
    def open(self, settings: PoolSettings) -> None:
        self.machine_is_full = self.put_off = self.lacks_spares = False
        super().open(settings)

    def carry_out(self, actions: "Sequence[Action[int, int]]", free: int | None = None, new: int | None = None) -> None:
        assert not (self.put_off and any(isinstance(action, Start) for action in actions))
        super().carry_out(actions, free, new)
        for action in actions:
            if isinstance(action, Start) and self.machine_is_full:
                self.starting -= 1
                if action.spare:
                    self.lacks_spares = True
                    self.carry_out(self.pool.put_off_spare(self.now_ns))
                else:
                    self.put_off = True
                    self.pool.put_off()

    def may_start(self) -> bool:
        return super().may_start() and not self.put_off

    def may_rest(self) -> bool:
        return super().may_rest() and not self.put_off

    def wanted_ready(self) -> int:
        """No more spares than there are, while there is no room for another one."""
        wanted = super().wanted_ready()
        missing = max(0, self.settings.reserved - len(self.idle) - len(self.busy))
        return max(missing, min(wanted, len(self.spares))) if self.lacks_spares else wanted

    @rule(is_full=st.booleans())
    def machine_changes(self, is_full: bool) -> None:
        self.machine_is_full = is_full
        if not is_full and (self.put_off or self.lacks_spares):
            self.put_off = self.lacks_spares = False
            self.carry_out(self.pool.resume(self.now_ns))

    @precondition(lambda self: self.put_off)
    @rule()
    def is_asked(self) -> None:
        """Whether it still waits for room."""
        lacks = self.starting * self.slots < len(self.waiting) or self.starting < self.indispensable()
        could_start = lacks and self.room() > 0 and self.now_ns >= self.blocked_ns
        assert self.pool.wants_room(self.now_ns) == could_start

    @precondition(lambda self: self.pool.dispensable(self.now_ns))
    @rule(pick=picks)
    def evict(self, pick: int) -> None:
        """Others need the room of an idle instance."""
        found = self.pool.dispensable(self.now_ns)
        assert found.items() <= {member: self.since[member] for member in [*self.spares, *self.idle]}.items()
        assert len(found) == len(self.spares) + len(self.idle) or self.awaits_announced()
        member = sorted(found)[pick % len(found)]
        if member in self.idle:
            self.used_ns = max(self.used_ns, self.since[self.idle[-1]])
        (self.idle if member in self.idle else self.spares).remove(member)
        self.leaving.add(member)
        leave, *others = self.pool.retire(member, self.now_ns)
        assert leave == Leave(member)
        self.carry_out(others)

    @precondition(lambda self: self.pool.serving())
    @rule(pick=picks)
    def give_up(self, pick: int) -> None:
        """Others need the room of a busy instance."""
        assert set(self.pool.serving()) == self.busy.keys() - self.closed
        member = self.pool.serving()[pick % len(self.pool.serving())]
        assert self.pool.retire(member, self.now_ns) == []
        self.closed.add(member)

    @invariant()
    def what_may_go_is_what_is_not_reserved(self) -> None:
        serving = self.busy.keys() - self.closed
        assert self.pool.surplus() == len(self.spares) + len(self.idle) + len(serving) - self.settings.reserved

    def teardown(self) -> None:
        """Whatever happened, every event ends once there is room."""
        if hasattr(self, "pool"):
            self.machine_changes(False)
            super().teardown()


PoolOnMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=50)
TestPoolOnMachine = pytest.mark.invariant("I5", "I6", "I8", "I9")(PoolOnMachine.TestCase)
