"""Every interleaving of events in the life of an instance: each call ends exactly once, whatever races."""

import signal
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sandbox.actions import Action, Cancel, End, HandOver, Kill, Learn, Leave, Ready
from sandbox.calls import Calls
from sandbox.endings import Answered, Died, Verdict
from sandbox.frames import (
    NOTHING,
    Answer,
    Asked,
    CallFrame,
    ChunkFrame,
    CreditFrame,
    EndFrame,
    FailFrame,
    HeadFrame,
    LearntFrame,
    OfCall,
    OkFrame,
    ReadyFrame,
    UnfitFrame,
)

GRACE = 5
TIMEOUTS = st.integers(0, 12)
FOR_ALL = Verdict("crash", "MemoryExceeded", "all of it")
NOBODY = -1
"""A culprit whose call has already ended, so that no open call is to blame."""


ASKED = st.just(NOTHING) | st.builds(Asked, st.booleans(), st.none() | st.integers(0, 4), st.integers(0, 2))
ENDS = ["ok", "error", "timeout", "memory", "end"]
KINDS = [*ENDS, "head", "chunk", "chunk", "credit", "call"]


class Model:
    """What one call may still send and get, by the rules of ARCHITECTURE §8."""

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self.headed = False
        self.credit = asked.credit or 0
        self.granted = 0
        self.sends = asked.more
        self.called = 0
        self.inner: set[int] = set()

    def takes(self, kind: str, number: int, *, is_late: bool) -> bool:
        """Whether the guest may send the frame; `number` is its length, its credit, or the number of its call."""
        match kind:
            case "ok":
                return not self.headed
            case "timeout":
                return is_late
            case "end":
                return self.headed
            case "head":
                first, self.headed = not self.headed, self.headed or self.asked.credit is not None
                return first and self.headed
            case "chunk":
                self.credit -= number
                return self.headed and self.credit >= 0
            case "credit":
                self.granted += number
                return self.asked.more
            case "call":
                new, self.called = number > self.called, number
                self.inner.add(number)
                return new and len(self.inner) <= self.asked.calls
        return True

    def gets(self, kind: str, number: int) -> bool:
        """Whether the server may send the frame."""
        match kind:
            case "chunk":
                allowed = self.sends and number <= self.granted
                self.granted -= number if allowed else 0
                return allowed
            case "end":
                sent, self.sends = self.sends, False
                return sent
            case "credit":
                self.credit += number
                return self.asked.credit is not None
        found = number in self.inner
        self.inner.discard(number)
        return found


class Interleavings(RuleBasedStateMachine):
    """Drives one instance, next to a model of the rules."""

    @initialize(
        slots=st.integers(1, 4),
        asynchronous=st.booleans(),
        starting=st.booleans(),
        learning=st.booleans(),
        calls=st.lists(st.tuples(TIMEOUTS, ASKED), max_size=4),
    )
    def start(
        self, slots: int, asynchronous: bool, starting: bool, learning: bool, calls: list[tuple[int, Asked]]
    ) -> None:
        self.calls = Calls(slots=slots, grace_ns=GRACE, asynchronous=asynchronous, starting=starting, learning=learning)
        self.learning = learning
        self.starting, self.begun = starting, not starting
        self.slots, self.asynchronous = slots, asynchronous
        self.now = self.last = 0
        self.deadlines: dict[int, int] = {}
        self.models: dict[int, Model] = {}
        self.open: set[int] = set()
        self.overdue: set[int] = set()
        self.ended: dict[int, Answered | Verdict] = {}
        self.leaving = self.left = self.closed = self.killed = self.dead = False
        self.blame: tuple[str, int | None] = ("", None)
        """The code of the kill, and the call at fault; None blames every open call."""
        for timeout, asked in calls[: 0 if starting else slots]:
            self.begin_call(timeout, asked)

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
                case Learn():
                    assert not self.killed
                case HandOver(frame):
                    assert frame.i in self.open - self.overdue
                case Cancel(calls):
                    assert not self.killed
                    assert set(calls) <= self.open - self.overdue
                    assert all(self.deadlines[i] <= self.now for i in calls)
                    self.overdue.update(calls)
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

    @rule()
    def guest_tells_what_it_has_imported(self) -> None:
        """May come once, during a call, if the instance was asked."""
        is_over, is_legal = self.killed or self.dead, self.learning and bool(self.open)
        frame = LearntFrame(modules=("a",))
        actions = self.calls.frame(frame, b"", self.now)
        self.carry_out(actions, "Breach")
        if not is_over:
            assert (actions == [Learn(frame)]) is is_legal
            assert self.killed is not is_legal
            self.learning = self.learning and not is_legal

    @precondition(lambda self: self.calls.free_slots)
    @rule(timeout=TIMEOUTS, asked=ASKED)
    def begin_call(self, timeout: int, asked: Asked) -> None:
        deadline = max([self.now + timeout, *self.deadlines.values()])
        self.last += 1
        self.calls.begin(self.last, deadline, asked)
        self.models[self.last] = Model(asked)
        self.deadlines[self.last] = deadline
        self.open.add(self.last)

    @precondition(lambda self: self.calls.free_slots)
    @rule()
    def begin_in_vain(self) -> None:
        self.last += 1
        self.calls.begin(self.last, max([self.now, *self.deadlines.values()]))
        self.calls.abort(self.last)

    @precondition(lambda self: self.open)
    @rule(data=st.data(), kind=st.sampled_from(KINDS), number=st.integers(1, 3))
    def guest_sends(self, data: st.DataObject, kind: str, number: int) -> None:
        """A frame of an open call, legal or not."""
        i = data.draw(st.sampled_from(sorted(self.open)))
        frame, body = frame_of(i, kind, number)
        if self.killed:
            assert self.calls.frame(frame, body, self.now) == []
            return
        is_late, is_legal = i in self.overdue, self.models[i].takes(kind, number, is_late=i in self.overdue)
        if not is_legal:
            self.carry_out(self.calls.frame(frame, body, self.now), "Breach", i)
            assert self.killed
            assert i in self.open, "it ends at the death of its process"
            return
        blame = "Timeout" if is_late else "MemoryExceeded"
        actions = self.calls.frame(frame, body, self.now)
        self.carry_out(actions, blame, NOBODY)
        if kind not in ENDS:
            assert actions == ([] if is_late else [HandOver(frame, body)])
        elif is_late or kind == "memory":
            assert code_of(self.ended[i]) == blame
            assert self.killed is not (self.asynchronous and is_late)
        else:
            assert isinstance(frame, Answer)
            assert self.ended[i] == Answered(frame, body)

    @rule(data=st.data(), kind=st.sampled_from(KINDS))
    def guest_sends_for_no_open_call(self, data: st.DataObject, kind: str) -> None:
        i = data.draw(st.integers(0, self.last + 1).filter(lambda i: i not in self.open))
        self.carry_out(self.calls.frame(*frame_of(i, kind, 1), self.now), "Breach")
        assert self.killed or self.dead

    @rule(data=st.data(), kind=st.sampled_from(["chunk", "end", "credit", "reply"]), number=st.integers(1, 3))
    def server_sends(self, data: st.DataObject, kind: Any, number: int) -> None:
        i = data.draw(st.integers(0, self.last + 1))
        is_open = i in self.open - self.overdue and not self.killed
        assert self.calls.may_send(i, kind, number) == (is_open and self.models[i].gets(kind, number))

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


def frame_of(i: int, kind: str, number: int) -> tuple[OfCall, bytes]:
    """A frame with its body; `number` as for `Model.takes`."""
    match kind:
        case "ok":
            return OkFrame(i=i, length=0), b""
        case "head":
            return HeadFrame(i=i), b""
        case "chunk":
            return ChunkFrame(i=i), bytes(number)
        case "end":
            return EndFrame(i=i), b""
        case "credit":
            return CreditFrame(i=i, bytes=number), b""
        case "call":
            return CallFrame(i=i, c=number, function="f"), b"body"
    code = "MemoryError" if kind == "memory" else "ValueError"
    return FailFrame(i=i, kind="timeout" if kind == "timeout" else "error", code=code, message="no"), b""


def code_of(ending: Answered | Verdict) -> str:
    return ending.code if isinstance(ending, Verdict) else "answered"


TestInterleavings = pytest.mark.invariant("I1", "I2", "I3", "I8")(Interleavings.TestCase)
TestInterleavings.settings = settings(max_examples=250, stateful_step_count=15)
