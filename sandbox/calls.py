"""The calls of one instance, and their ends, decided in one place: a pure state machine.

Theory of operation. A reply, a failure, the deadline, the death of the process, end of file and a breach of the
protocol race. Each is one method call here, in the order in which the server saw it, and returns the actions to carry
out. `instance.py` does the I/O and decides nothing.

Two tables say what follows: `call_life.py` for each call, `instance_life.py` for the process that runs them. They meet
in three places. A call that its process cannot survive condemns the process; the death of the process ends all its
calls; and an instance that leaves does so after its last call. The calls of a condemned instance end at its death and
not before, because until then they still run. Those that were not at fault end as `InstanceKilled`.

Each call ends exactly once: only this module returns an `End`, and from then on the call is not open.
"""

import signal
from typing import Final, Literal, TypeGuard

from sandbox import call_life, instance_life
from sandbox.actions import Action, Cancel, End, HandOver, Kill, Learn, Leave, Ready
from sandbox.call_life import COUNTED, NOTHING_LEFT, Call, Effect, Streams, input_of
from sandbox.endings import TIMED_OUT, Answered, Died, Ending, Verdict, broken, crash, ran_out
from sandbox.frames import (
    NOTHING,
    Answer,
    Asked,
    FailFrame,
    Frame,
    LearntFrame,
    OfCall,
    OkFrame,
    ReadyFrame,
    UnfitFrame,
)
from sandbox.instance_life import GONE, OVER, Input, State
from sandbox.spec import FunctionSpec

_SERVING: Final = State.SERVING
_RUNNING: Final = call_life.State.RUNNING
"""As globals, because the warm path pays for each look into an enumeration."""


class Calls:
    """The open calls of one instance. Times are CLOCK_MONOTONIC nanoseconds."""

    def __init__(
        self,
        *,
        slots: int,
        grace_ns: int,
        asynchronous: bool,
        memory_bytes: int | None = None,
        starting: bool = False,
        learning: bool = False,
    ) -> None:
        """`memory_bytes`: what it may have; `learning`: it was asked which modules its first call imports."""
        self.state = State.STARTING if starting else State.SERVING
        self.was_asked_to_leave = False
        self._slots = slots
        self._grace_ns = grace_ns
        self._asynchronous = asynchronous
        self._memory_bytes = memory_bytes
        self._learning = learning
        self._open: dict[int, Call] = {}
        """In the order of their deadlines, so that with hundreds of them a tick looks at those that are due only."""
        self._latest_ns = 0
        self._left_ns = 0
        """When either end of the socket was closed. A `stop` hook has the grace from here."""
        self._overstayed = Verdict("crash", "Exit", "the instance closed its connection")
        self._condemned_for: tuple[Verdict, int | None] | None = None
        """Why it was killed, and the call at fault (None: every open call)."""

    @classmethod
    def of(cls, spec: FunctionSpec, *, asynchronous: bool, learning: bool) -> "Calls":
        """The calls of an instance of this function."""
        return cls(
            slots=spec.concurrency if asynchronous else 1,
            grace_ns=int(spec.grace_s * 1e9),
            asynchronous=asynchronous,
            memory_bytes=spec.limits.memory_bytes,
            starting=spec.tells_when_ready,
            learning=learning,
        )

    @property
    def condemned_for(self) -> Verdict | None:
        """Why it was killed, or None if it was not."""
        return self._condemned_for and self._condemned_for[0]

    @property
    def free_slots(self) -> int:
        """The number of calls that may begin now."""
        return self._slots - len(self._open) if self.state is _SERVING else 0

    @property
    def open_calls(self) -> tuple[int, ...]:
        """The ids of the calls that have not ended."""
        return tuple(self._open)

    @property
    def next_tick_ns(self) -> int | None:
        """When `tick` must be called next; None: not before another method is called."""
        if self.state in OVER:
            return None
        times = [self._left_ns + self._grace_ns] if self.state in GONE else []
        for call in self._open.values():
            times.append(self._due_ns(call))
            if not call.is_overdue:
                break
        return min(times, default=None)

    def begin(self, i: int, deadline_ns: int, asked: Asked = NOTHING) -> None:
        """Call `i` is about to be written.

        Requires a free slot, an id that was never used here, and a deadline that is not before those of earlier calls.
        """
        calls = self._open
        if self.state is not _SERVING or len(calls) >= self._slots or i in calls or deadline_ns < self._latest_ns:
            raise RuntimeError(f"call {i} cannot begin: {self.state}, {len(calls)} of {self._slots} slots taken")
        self._latest_ns = deadline_ns
        calls[i] = Call(deadline_ns, NOTHING_LEFT if asked is NOTHING else Streams.of(asked))

    def abort(self, i: int) -> None:
        """No byte of call `i` could be written: it never began. The caller assigns the event again."""
        del self._open[i]

    def may_send(self, i: int, kind: Literal["chunk", "end", "credit", "reply"], number: int = 0) -> bool:
        """Whether the server may write this frame of call `i` now; if so, it counts as written.

        `number` is the length of a chunk, the bytes of a credit, or the `c` of a reply. Nothing follows a `cancel`.
        """
        call = self._open.get(i)
        if call is None or call.is_overdue or self.state in OVER:
            return False
        return call.streams.may_send(kind, number)

    def succeeds(self, frame: Frame) -> TypeGuard[OkFrame]:
        """Whether the frame is the result of a call in time, as in the warm case. If so, the call has ended.

        The rest of `frame`, which follows if not, returns the same as the tables have it.
        """
        if type(frame) is not OkFrame or self.state is not _SERVING:
            return False
        call = self._open.get(frame.i)
        if call is None or call.state is not _RUNNING:
            return False
        del self._open[frame.i]
        return True

    def frame(self, frame: Frame, body: bytes, now_ns: int) -> list[Action]:
        """A well-formed frame has arrived."""
        if self.succeeds(frame):
            return [End(frame.i, Answered(frame, body))]
        if self.state in OVER:
            return []
        if isinstance(frame, (ReadyFrame, UnfitFrame)):
            return self._begun(frame, now_ns)
        if isinstance(frame, LearntFrame):
            return self._learn(frame)
        return self._of_call(frame, body, now_ns)

    def _of_call(self, frame: OfCall, body: bytes, now_ns: int) -> list[Action]:
        call = self._open.get(frame.i)
        what = input_of(frame)
        if call is None:
            return self.breach(f"`{what}` for call {frame.i}, which is not open")
        step = call_life.TABLE[call.state].get(what)
        if step is None:
            return self.breach(call_life.BREACHES[what][1], frame.i)
        if what in COUNTED and (why := call.streams.refusal(frame, len(body))):
            return self.breach(why, frame.i)
        call.state = step.next
        return self._follow(step.effect, frame, body, now_ns)

    def _follow(self, effect: Effect, frame: OfCall, body: bytes, now_ns: int) -> list[Action]:
        if isinstance(frame, FailFrame) and frame.last:
            self._advance(Input.END_OF_FILE, now_ns)
        if effect is Effect.ANSWER and isinstance(frame, Answer):
            return [self._end(frame.i, Answered(frame, body)), *self._after_last(now_ns)]
        if effect is Effect.HAND_OVER:
            return [HandOver(frame, body)]
        if effect is Effect.IGNORE:
            return []
        traceback, peak_kb = (frame.traceback, frame.peak_rss_kb) if isinstance(frame, FailFrame) else ("", 0)
        verdict = ran_out(self._memory_bytes, peak_kb) if effect is Effect.RUN_OUT else TIMED_OUT
        end = self._end(frame.i, verdict, traceback)
        if effect is Effect.TIME_OUT and self._asynchronous:  # the one kind of process that survives it
            return [end, *self._after_last(now_ns)]
        return [end, *self._condemn(verdict, frame.i)]

    def _learn(self, frame: LearntFrame) -> list[Action]:
        if not self._learning:
            return self.breach("a `learnt` that was not asked for, or a second one")
        if not self._open:
            return self.breach("a `learnt` outside a call")
        self._learning = False
        return [Learn(frame)]

    def _begun(self, frame: ReadyFrame | UnfitFrame, now_ns: int) -> list[Action]:
        """The `after_fork` hook has ended."""
        unfit = frame if isinstance(frame, UnfitFrame) else None
        what = Input.READY if unfit is None else Input.UNFIT
        if what not in instance_life.TABLE[self.state]:
            return self.breach(instance_life.BREACHES[what][1])
        return [Ready(unfit)] if self._advance(what, now_ns) is instance_life.Effect.BEGIN else []

    def breach(self, how: str, i: int | None = None) -> list[Action]:
        """The guest broke the protocol, in call `i` if that is known."""
        return self._condemn(broken(how), i)

    def end_of_file(self, now_ns: int) -> None:
        """The guest closed its end and can answer no more. It is usually dying: it has the grace to do so by itself."""
        self._advance(Input.END_OF_FILE, now_ns)

    def died(self, how: Died) -> list[Action]:
        """The process and everything it started are gone. Every open call ends now."""
        ends: list[Action] = [
            self._end(i, self._verdict_at_death(i, call, how)) for i, call in tuple(self._open.items())
        ]
        self.state = instance_life.TABLE[self.state][Input.DIED].next
        return ends

    def _verdict_at_death(self, i: int, call: Call, how: Died) -> Verdict:
        if call_life.TABLE[call.state][call_life.Input.DIED].effect is Effect.CRASH_LATE:
            return TIMED_OUT
        if self._condemned_for is None:
            return crash(how)
        verdict, culprit = self._condemned_for
        if how.code not in (-signal.SIGKILL, None) and verdict.kind != "protocol":
            return crash(how)  # it ended before our signal arrived; a breach stays a breach all the same
        if culprit in (None, i):
            return verdict
        return Verdict("crash", "InstanceKilled", f"the instance was killed for another call: {verdict.message}")

    def tick(self, now_ns: int) -> list[Action]:
        """Time has passed: cancel calls that are overdue, kill the instance once a grace is used up."""
        if self.state in OVER:
            return []
        overdue: list[int] = []
        culprit: int | None = None
        for i, call in self._open.items():
            if now_ns < self._due_ns(call):
                if call.is_overdue:
                    continue
                break
            passed = call_life.Input.GRACE_OVER if call.is_overdue else call_life.Input.DEADLINE
            step = call_life.TABLE[call.state][passed]
            call.state = step.next
            if step.effect is Effect.CONDEMN:
                culprit = i
            else:
                overdue.append(i)
        actions: list[Action] = [Cancel(tuple(overdue))] if overdue else []
        if culprit is not None:
            actions += self._condemn(TIMED_OUT, culprit)
        elif self.state in GONE and now_ns >= self._left_ns + self._grace_ns:
            actions += self._condemn(self._overstayed, None, Input.OVERSTAYED)
        return actions

    def leave(self, now_ns: int) -> list[Action]:
        """Take no more calls, finish the open ones, then end."""
        self.was_asked_to_leave |= self.state in (State.STARTING, State.SERVING)
        if self._advance(Input.LEAVE, now_ns) is instance_life.Effect.SHUT:
            return [self._shut()]
        return self._after_last(now_ns)

    def kill(self, verdict: Verdict) -> list[Action]:
        """Kill the instance for a reason that is not one call's (memory, a hostile template)."""
        return self._condemn(verdict, None)

    def _condemn(self, verdict: Verdict, culprit: int | None, what: Input = Input.CONDEMN) -> list[Action]:
        step = instance_life.TABLE[self.state][what]
        self.state = step.next
        if step.effect is not instance_life.Effect.KILL:
            return []
        self._condemned_for = (verdict, culprit)
        return [Kill(verdict.message)]

    def _end(self, i: int, ending: Ending, traceback: str = "") -> End:
        del self._open[i]
        return End(i, ending, traceback)

    def _after_last(self, now_ns: int) -> list[Action]:
        """An instance that is to leave does so once it has no open call."""
        if self._open or self._advance(Input.IDLE, now_ns) is not instance_life.Effect.SHUT:
            return []
        return [self._shut()]

    def _advance(self, what: Input, now_ns: int) -> instance_life.Effect:
        """Advance the instance's life; the grace begins when it has left."""
        step = instance_life.TABLE[self.state][what]
        if step.next in GONE and self.state not in GONE:
            self._left_ns = now_ns
        self.state = step.next
        return step.effect

    def _due_ns(self, call: Call) -> int:
        return call.deadline_ns + self._grace_ns if call.is_overdue else call.deadline_ns

    def _shut(self) -> Leave:
        self._overstayed = Verdict("crash", "Exit", "the instance did not end in time")
        return Leave()
