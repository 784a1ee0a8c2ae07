"""Every interleaving of events in the life of a template: it ends once, and only after everything that it started.

The machine models processes, sockets and time limits, and does not know the states of the table.
"""

from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sandbox.lives import IMPOSSIBLE, ONCE_UNHELD, TABLE, Action, Input, Life, State

PAIRS = {(state, what) for state in State for what in Input}


def test_each_pair_has_one_place_in_the_table_or_a_reason_why_it_cannot_occur() -> None:
    possible = {(state, what) for state, row in TABLE.items() for what in row}
    impossible = {(state, what) for what, (states, _) in IMPOSSIBLE.items() for state in states}
    assert possible | impossible == PAIRS
    assert not possible & impossible


@pytest.mark.parametrize("what", [what for what, (states, _) in IMPOSSIBLE.items() if states])
def test_an_impossible_pair_is_reported_with_its_reason(what: Input) -> None:
    states, why = IMPOSSIBLE[what]
    for state in states:
        life = Life()
        life.state = state
        with pytest.raises(RuntimeError, match=f"a template that is {state} .*{why}"):
            life.on(what)
        assert life.state == state


def test_every_state_is_reached() -> None:
    steps = {*ONCE_UNHELD.items(), *((state, step) for state, row in TABLE.items() for step in row.values())}
    reached = {State.OPENING}
    while more := {step.next for state, step in steps if state in reached} - reached:
        reached |= more
    assert reached == set(State)


class Interleavings(RuleBasedStateMachine):
    """Drives one template as the kernel, the zygote, the control socket and the tree can."""

    def __init__(self) -> None:
        super().__init__()
        self.life = Life()
        self.opening, self.unborn, self.closing = True, False, False
        self.alive = self.connected = self.killed = False
        self.loads = False
        """a load awaits its answer"""
        self.offered = self.single = self.becomes = self.became = False
        """the tree has it; it must not fork; it was asked to become its one instance; it has answered"""
        self.retired = self.replaced = self.withdrawn = self.limited = False
        self.sweeping = self.swept = self.released = self.finished = False
        self.forks = self.instances = 0
        self.pairs: set[tuple[State, Input]] = set()
        """those that have occurred"""

    @initialize(far=st.integers(0, 5), single=st.booleans(), then=st.sampled_from(["", "retire", "cut_off", "death"]))
    def start(self, far: int, single: bool, then: str) -> None:
        """Start anywhere in the life of a template, because most random walks end early."""
        if far > 0:
            self.opening_ends(True)
            self.birth(True)
        if far > 1:
            self.loaded(single)
        if far > 2:
            self.fork()
        if far > 3:
            self.fork_ends(far == 4)
        if then and self.alive:
            getattr(self, then)()

    def happens(self, what: Input, reason: str | None = None) -> tuple[Action, ...]:
        """Carry out the actions, and check that each is legal now."""
        self.pairs.add((self.life.state, what))
        actions = self.life.on(what, reason)
        for action in actions:
            getattr(self, f"do_{action.name.lower()}")()
        return actions

    def do_refuse(self) -> None:
        assert self.withdrawn

    def do_withdraw(self) -> None:
        assert not self.withdrawn, "the tree is told once"
        self.withdrawn = True

    def do_dismiss(self) -> None:
        assert self.withdrawn, "instances leave only what forks no more"

    def do_hang_up(self) -> None:
        assert self.connected
        assert self.retired or self.replaced or self.becomes
        self.connected = False
        self.limited = True
        assert self.happens(Input.CUT_OFF, "it was retired") == ()

    def do_kill(self) -> None:
        assert self.alive
        assert not self.became, "its instance lives on"
        self.killed = True

    def do_sweep(self) -> None:
        assert not self.alive
        assert not self.sweeping
        assert not self.swept
        self.sweeping = True

    def do_release(self) -> None:
        assert not self.released
        assert not self.forks + self.instances
        self.released = True

    def do_close(self) -> None:
        assert not self.closing
        assert not self.alive
        assert not self.forks + self.instances, "a box closes after the last process in it"
        self.closing = True

    def do_finish(self) -> None:
        assert not self.finished
        assert not self.alive
        self.finished = True

    @precondition(lambda self: self.opening)
    @rule(made=st.booleans())
    def opening_ends(self, made: bool) -> None:
        self.opening = False
        self.unborn = made and not self.retired
        self.happens(Input.OPENED if made else Input.UNOPENED)
        assert self.closing == (made and self.retired), "a box that nobody wants any more closes empty"

    @precondition(lambda self: self.closing)
    @rule()
    def box_closes(self) -> None:
        self.closing = False
        self.happens(Input.CLOSED)

    @precondition(lambda self: self.unborn)
    @rule(made=st.booleans())
    def birth(self, made: bool) -> None:
        self.unborn = False
        self.alive = self.connected = self.loads = made
        self.happens(Input.BORN if made else Input.STILLBORN)
        assert self.killed == (made and self.retired)

    @precondition(lambda self: self.loads)
    @rule(single=st.booleans())
    def loaded(self, single: bool) -> None:
        """The load is answered; the template may have ended since."""
        self.loads, self.single = False, single
        assert self.happens(Input.LOADED) == ()
        self.offered = True

    @precondition(lambda self: self.offered and not self.becomes)
    @rule()
    def fork(self) -> None:
        is_refused = self.withdrawn
        actions = self.happens(Input.BECOME, "it became an instance") if self.single else self.happens(Input.FORK)
        assert (Action.REFUSE in actions) == is_refused
        if not is_refused:
            self.forks += 1
            self.becomes = self.single

    @precondition(lambda self: self.forks)
    @rule(made=st.booleans())
    def fork_ends(self, made: bool) -> None:
        if made and self.becomes:
            self.became = self.alive and not self.killed
            self.happens(Input.BECAME)
        self.forks -= 1
        self.instances += made
        if not made:
            self.happens(Input.LET_GO)

    @precondition(lambda self: self.instances)
    @rule()
    def instance_is_buried(self) -> None:
        self.instances -= 1
        self.happens(Input.LET_GO)

    @precondition(lambda self: self.offered and not self.withdrawn and not self.single)
    @rule()
    def replace(self) -> None:
        self.replaced = True
        actions = self.happens(Input.REPLACE, "it was replaced")
        assert self.withdrawn
        assert Action.DISMISS not in actions, "its instances serve on"
        assert self.life.keeps_newborns or not self.forks
        self.fork()

    @rule()
    def retire(self) -> None:
        self.retired = True
        actions = self.happens(Input.RETIRE, "it was retired")
        assert self.withdrawn or self.closing or self.finished
        assert self.killed or not (self.alive and self.loads), "it does not listen while it imports"
        assert not self.instances or Action.DISMISS in actions
        if self.offered and not self.becomes:
            self.fork()

    @precondition(lambda self: self.connected)
    @rule()
    def cut_off(self) -> None:
        self.connected = False
        actions = self.happens(Input.CUT_OFF, "it did not answer")
        assert self.withdrawn
        assert self.killed is not self.became
        assert not self.instances or self.became or Action.DISMISS in actions

    @precondition(lambda self: self.limited)
    @rule()
    def overdue(self) -> None:
        self.limited = False
        self.happens(Input.OVERDUE)
        assert self.killed or not self.alive

    @precondition(lambda self: self.alive)
    @rule()
    def death(self) -> None:
        if self.connected:
            self.cut_off()
        self.alive = False
        self.happens(Input.DIED)
        assert self.sweeping

    @precondition(lambda self: self.sweeping)
    @rule()
    def sweep(self) -> None:
        self.sweeping, self.swept = False, True
        self.happens(Input.SWEPT)

    @invariant()
    def what_forks_no_more_says_why(self) -> None:
        assert not self.withdrawn or self.life.reason
        assert not self.life.reason or self.withdrawn or self.closing or self.finished

    @invariant()
    def what_is_of_no_use_and_holds_nothing_ends(self) -> None:
        is_of_no_use = self.retired or self.replaced or self.becomes
        if is_of_no_use and self.alive and not (self.forks + self.instances or self.became):
            assert not self.connected
            assert self.killed or (self.limited and not self.becomes)

    @invariant()
    def it_is_finished_after_all_that_it_started(self) -> None:
        over = not (self.opening or self.unborn or self.alive or self.sweeping or self.forks or self.instances)
        assert (self.finished or self.closing) == over
        assert not self.finished or not self.closing
        assert self.released == (over and self.swept)

    @invariant()
    def it_reaps_only_while_it_can(self) -> None:
        assert not self.life.reaps or (self.alive and not self.became)
        assert not self.life.is_dead or not self.alive

    def teardown(self) -> None:
        """From any state, the template is gone once its process and everything it started are gone."""
        if self.opening:
            self.opening_ends(True)
        if self.unborn:
            self.birth(True)
        if self.alive:
            self.death()
        self.comes_too_late()
        if self.sweeping:
            self.sweep()
        while self.forks:
            self.fork_ends(False)
        while self.instances:
            self.instance_is_buried()
        self.it_is_finished_after_all_that_it_started()
        if self.closing:
            self.box_closes()
        assert self.finished
        self.retire()
        self.comes_too_late()

    def comes_too_late(self) -> None:
        """Deliver the inputs that were under way when the process died."""
        if self.loads:
            self.loaded(False)
        if self.limited:
            self.overdue()


TestInterleavings = pytest.mark.invariant("I37")(Interleavings.TestCase)
TestInterleavings.settings = settings(max_examples=100, stateful_step_count=15)


MOVES: dict[str, Callable[[Interleavings], bool]] = {
    "opening_ends True": lambda one: one.opening,
    "opening_ends False": lambda one: one.opening,
    "box_closes": lambda one: one.closing,
    "birth True": lambda one: one.unborn,
    "birth False": lambda one: one.unborn,
    "loaded True": lambda one: one.loads,
    "loaded False": lambda one: one.loads,
    "fork": lambda one: one.offered and not one.becomes and one.forks + one.instances < 2,
    "fork_ends True": lambda one: one.forks > 0,
    "fork_ends False": lambda one: one.forks > 0,
    "instance_is_buried": lambda one: one.instances > 0,
    "replace": lambda one: one.offered and not one.withdrawn and not one.single,
    "retire": lambda one: True,
    "cut_off": lambda one: one.connected,
    "overdue": lambda one: one.limited,
    "death": lambda one: one.alive,
    "sweep": lambda one: one.sweeping,
}
"""The rules of the machine with their arguments, and when they can occur; with at most two instances at a time."""


def after(moves: tuple[str, ...]) -> Interleavings:
    machine = Interleavings()
    for move in moves:
        name, *made = move.split()
        getattr(machine, name)(*(word == "True" for word in made))
        machine.what_forks_no_more_says_why()
        machine.what_is_of_no_use_and_holds_nothing_ends()
        machine.it_is_finished_after_all_that_it_started()
        machine.it_reaps_only_while_it_can()
    return machine


def test_the_table_holds_exactly_the_pairs_that_occur() -> None:
    """Explore all paths through the life of a template, each until it reaches a known place."""
    seen: set[str] = set()
    pairs: set[tuple[State, Input]] = set()
    paths: list[tuple[str, ...]] = [()]
    while paths:
        path = paths.pop(0)
        machine = after(path)
        pairs |= machine.pairs
        facts = {name: value for name, value in vars(machine).items() if isinstance(value, (bool, int))}
        place = f"{machine.life.state} {facts}"
        if place not in seen:
            seen.add(place)
            paths += [(*path, move) for move, may_occur in MOVES.items() if may_occur(machine)]
    assert pairs == {(state, what) for state, row in TABLE.items() for what in row}
