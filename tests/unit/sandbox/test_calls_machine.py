"""Every interleaving of events in the life of an instance: each call ends exactly once, whatever races."""

import signal

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sandbox.calls import Action, Answered, Calls, Cancel, Died, End, Kill, Leave, Ready, Verdict
from sandbox.wire import Answer, FailFrame, OkFrame, ReadyFrame, UnfitFrame

GRACE = 5
TIMEOUTS = st.integers(0, 12)
FOR_ALL = Verdict("crash", "MemoryExceeded", "all of it")
NOBODY = -1
"""A culprit whose call has already ended, so that no open call is to blame."""


class Interleavings(RuleBasedStateMachine):
    """Drives one instance, next to a model of the rules."""

    @initialize(
        slots=st.integers(1, 4),
        asynchronous=st.booleans(),
        starting=st.booleans(),
        timeouts=st.lists(TIMEOUTS, max_size=4),
    )
    def start(self, slots: int, asynchronous: bool, starting: bool, timeouts: list[int]) -> None:
        self.calls = Calls(slots=slots, grace_ns=GRACE, asynchronous=asynchronous, starting=starting)
        self.starting, self.begun = starting, not starting
        self.slots, self.asynchronous = slots, asynchronous
        self.now = self.last = 0
        self.deadlines: dict[int, int] = {}
        self.open: set[int] = set()
        self.overdue: set[int] = set()
        self.ended: dict[int, Answered | Verdict] = {}
        self.leaving = self.left = self.closed = self.killed = self.dead = False
        self.blame: tuple[str, int | None] = ("", None)
        """The code of the kill, and the call at fault; None blames every open call."""
        for timeout in timeouts[: 0 if starting else slots]:
            self.begin_call(timeout)

    def carry_out(self, actions: list[Action], code: str = "", culprit: int | None = None) -> None:
        """Check the precondition of each action; `code` and `culprit` are the blame if one kills the instance."""
        for action in actions:
            match action:
                case Ready():
                    assert self.starting
                    assert not any((self.killed, self.dead, self.left, self.closed))
                case End(i, ending):
                    assert not self.killed or self.dead, "a condemned instance's calls end at its death"
                    self.open.remove(i)
                    assert self.ended.setdefault(i, ending) is ending
                case Cancel(i):
                    assert not self.killed
                    assert i in self.open - self.overdue
                    assert self.deadlines[i] <= self.now
                    self.overdue.add(i)
                case Kill():
                    assert not self.killed
                    assert not self.dead
                    self.killed, self.blame = True, (code, culprit)
                case Leave():
                    assert self.leaving
                    assert not any((self.left, self.closed, self.open, self.killed, self.dead))
                    self.left = True

    @rule(unfit=st.booleans())
    def first_frame(self, unfit: bool) -> None:
        """May come once, and has an effect only while the instance starts."""
        counts = self.starting and not (self.leaving or self.closed)
        frame = UnfitFrame(code="InitFailed", message="no") if unfit else ReadyFrame()
        actions = self.calls.frame(frame, b"", self.now)
        self.carry_out(actions, "Breach")
        if self.killed or self.dead:
            assert self.begun or not actions
            return
        assert not self.begun
        assert len(actions) == counts
        self.begun, self.starting = True, False
        self.closed |= counts and unfit

    @precondition(lambda self: self.calls.free_slots)
    @rule(timeout=TIMEOUTS)
    def begin_call(self, timeout: int) -> None:
        self.last += 1
        self.calls.begin(self.last, self.now + timeout)
        self.deadlines[self.last] = self.now + timeout
        self.open.add(self.last)

    @precondition(lambda self: self.calls.free_slots)
    @rule()
    def begin_in_vain(self) -> None:
        self.last += 1
        self.calls.begin(self.last, self.now)
        self.calls.abort(self.last)

    def receive(self, frame: Answer, code: str = "", culprit: int | None = None) -> None:
        """A frame of an open call arrives; one that is overdue can only time out."""
        i, counts = frame.i, not self.killed
        if i in self.overdue:
            code, culprit = "Timeout", NOBODY
        self.carry_out(self.calls.frame(frame, b"", self.now), code, culprit)
        if counts and i in self.overdue:
            assert code_of(self.ended[i]) == "Timeout"
            assert self.killed is not self.asynchronous

    @precondition(lambda self: self.open & self.overdue and not self.killed)
    @rule(data=st.data(), kind=st.sampled_from(["ok", "error", "timeout"]))
    def late_answer(self, data: st.DataObject, kind: str) -> None:
        i = data.draw(st.sampled_from(sorted(self.open & self.overdue)))
        self.receive(OkFrame(i=i, length=0) if kind == "ok" else failure(i, kind))

    @precondition(lambda self: self.open)
    @rule(data=st.data(), answer=st.sampled_from(["ok", "error"]))
    def answer(self, data: st.DataObject, answer: str) -> None:
        i = data.draw(st.sampled_from(sorted(self.open)))
        frame = OkFrame(i=i, length=0) if answer == "ok" else failure(i, answer)
        counts = not self.killed and i not in self.overdue
        self.receive(frame)
        assert self.ended.get(i) == (Answered(frame, b"") if counts else self.ended.get(i))

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def timeout(self, data: st.DataObject) -> None:
        i = data.draw(st.sampled_from(sorted(self.open)))
        self.receive(failure(i, "timeout"), "Breach", i)
        assert self.killed or i in self.overdue

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def out_of_memory(self, data: st.DataObject) -> None:
        i = data.draw(st.sampled_from(sorted(self.open)))
        self.receive(failure(i, "error", "MemoryError"), "MemoryExceeded", NOBODY)
        assert self.killed or i in self.overdue

    @rule(data=st.data(), kind=st.sampled_from(["ok", "error", "timeout"]))
    def answer_to_no_open_call(self, data: st.DataObject, kind: str) -> None:
        i = data.draw(st.integers(0, self.last + 1).filter(lambda i: i not in self.open))
        frame = OkFrame(i=i, length=0) if kind == "ok" else failure(i, kind)
        self.carry_out(self.calls.frame(frame, b"", self.now), "Breach")
        assert self.killed or self.dead

    @rule()
    def end_of_file(self) -> None:
        self.calls.end_of_file(self.now)
        self.closed = True

    @rule(code=st.none() | st.sampled_from([0, 1, 255, -signal.SIGKILL, -signal.SIGSEGV, -signal.SIGTERM, -64, -200]))
    def death(self, code: int | None) -> None:
        expected = {i: self.code_at_death(i, code) for i in self.open}
        self.dead = True
        self.carry_out(self.calls.died(Died(code)))
        assert not self.open
        assert {i: code_of(self.ended[i]) for i in expected} == expected

    def code_at_death(self, i: int, code: int | None) -> str:
        if i in self.overdue:
            return "Timeout"
        if not self.killed or (code not in (None, -signal.SIGKILL) and self.blame[0] != "Breach"):
            return "Signal" if code is not None and code < 0 else "Exit"
        because, culprit = self.blame
        return because if culprit in (None, i) else "InstanceKilled"

    @rule(later=st.integers(0, 15))
    def tick(self, later: int) -> None:
        self.now += later
        actions = self.carry_out_tick()
        if not (self.killed or self.dead):
            assert {i for i in self.open if self.deadlines[i] <= self.now} == self.overdue & self.open
            assert all(self.now < self.deadlines[i] + GRACE for i in self.overdue & self.open if not actions)

    @precondition(lambda self: self.calls.next_tick_ns)
    @rule()
    def tick_in_time(self) -> None:
        at = self.calls.next_tick_ns
        assert at is not None
        self.tick(max(0, at - self.now))

    def carry_out_tick(self) -> list[Action]:
        """A tick kills because one call has used up its grace, or because a closed instance does not die."""
        timed_out = any(self.deadlines[i] + GRACE <= self.now for i in self.overdue & self.open)
        actions = self.calls.tick(self.now)
        self.carry_out(actions, "Exit", NOBODY if timed_out else None)
        return actions

    @rule()
    def leave(self) -> None:
        self.leaving = True
        self.carry_out(self.calls.leave(self.now))
        assert self.left or self.closed or self.open or self.killed or self.dead

    @rule(breach=st.booleans())
    def kill(self, breach: bool) -> None:
        if breach:
            self.carry_out(self.calls.breach("nonsense"), "Breach")
        else:
            self.carry_out(self.calls.kill(FOR_ALL), "MemoryExceeded")
        assert self.killed or self.dead

    @invariant()
    def open_calls_are_those_that_have_not_ended(self) -> None:
        assert set(self.calls.open_calls) == self.open == self.deadlines.keys() - self.ended.keys()

    @invariant()
    def only_one_that_serves_has_free_slots(self) -> None:
        serves = not (self.starting or self.leaving or self.closed or self.killed or self.dead)
        assert self.calls.free_slots == (self.slots - len(self.open) if serves else 0)

    @invariant()
    def an_open_call_has_a_next_tick(self) -> None:
        may_tick = not (self.killed or self.dead)
        assert (self.calls.next_tick_ns is not None) == (may_tick and bool(self.open or self.left or self.closed))

    def teardown(self) -> None:
        """In any state, each tick at its due time does something, and a death ends all open calls."""
        while (at := self.calls.next_tick_ns) is not None:
            self.now = max(self.now, at)
            assert self.carry_out_tick(), "a tick that was asked for has something to do"
        self.death(-signal.SIGKILL)
        assert self.ended.keys() == self.deadlines.keys()
        self.only_one_that_serves_has_free_slots()


def failure(i: int, kind: str, code: str = "ValueError") -> FailFrame:
    assert kind in ("error", "timeout")
    return FailFrame(i=i, kind=kind, code=code, message="no")  # type: ignore[arg-type]


def code_of(ending: Answered | Verdict) -> str:
    return ending.code if isinstance(ending, Verdict) else "answered"


TestInterleavings = pytest.mark.invariant("I1", "I2", "I3", "I8")(Interleavings.TestCase)
TestInterleavings.settings = settings(max_examples=250, stateful_step_count=15)
