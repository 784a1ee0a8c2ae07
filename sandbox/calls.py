"""The end of a call, decided in one place: the pure state machine of one instance.

Theory of operation. A reply, a failure, the deadline, the death of the process, end of file and a breach of the
protocol race. Each is one method call here, in the order in which the server saw it, and returns the actions to carry
out. A call is open, then perhaps overdue, and ends exactly once: only this module returns its `End` action, and only
once. `instance.py` does the I/O and decides nothing.

An instance with an `after_fork` hook is `starting` until the hook has run, and no call begins before. Then, or at once,
it is `serving`, then perhaps `leaving` (it takes no more calls and exits by itself), perhaps `condemned` (SIGKILL was
sent, and its frames are ignored), and finally `dead`. `dead` means that the server has verified its death and that of
everything it started. The calls of a condemned instance end only then, because until then they still run.
"""

import signal
from typing import Final, Literal

from msgspec import Struct

from bus.outcome import Code
from sandbox.wire import Answer, FailFrame, Frame, OkFrame, ReadyFrame, UnfitFrame


class Died(Struct, frozen=True):
    """How a process ended: its exit code, or minus the signal, or None if unknown."""

    code: int | None


class Verdict(Struct, frozen=True):
    """A failure that the server detected itself, as opposed to one that the guest reported."""

    kind: Literal["timeout", "crash", "protocol"]
    code: Code
    message: str


class Answered(Struct, frozen=True, gc=False):
    """The guest's answer."""

    frame: Answer
    body: bytes


Ending = Answered | Verdict


class End(Struct, frozen=True, gc=False):
    """Action: deliver the end of call `i`. `traceback` is the guest's, if it sent one where the ending is a verdict."""

    i: int
    ending: Ending
    traceback: str = ""


class Ready(Struct, frozen=True):
    """Action: the `after_fork` hook has run and calls may begin; with `unfit` it failed and none ever will."""

    unfit: UnfitFrame | None = None


class Cancel(Struct, frozen=True):
    """Action: interrupt the overdue call `i`: request a stack, send `cancel`, and SIGTERM for a sync handler."""

    i: int


class Kill(Struct, frozen=True):
    """Action: SIGKILL the instance; its burial kills everything it started."""

    reason: str


class Leave(Struct, frozen=True):
    """Action: shut the socket down for writing; the guest runs its `stop` hook and exits."""


Action = Ready | End | Cancel | Kill | Leave

TIMEOUT: Final = "Timeout"
MEMORY_EXCEEDED = Verdict("crash", "MemoryExceeded", "the handler ran out of memory")


class _Call(Struct):
    deadline_ns: int
    overdue: bool = False


class Calls:
    """The open calls of one instance. Times are CLOCK_MONOTONIC nanoseconds."""

    def __init__(self, *, slots: int, grace_ns: int, asynchronous: bool, starting: bool = False) -> None:
        self.state: Literal["starting", "serving", "leaving", "condemned", "dead"]
        self.state = "starting" if starting else "serving"
        self._has_begun = not starting
        self._slots = slots
        self._grace_ns = grace_ns
        self._asynchronous = asynchronous
        self._open: dict[int, _Call] = {}
        self._left_ns: int | None = None
        """When either end was closed. A `stop` hook has the grace from here."""
        self.was_asked_to_leave = False
        self._overstayed = Verdict("crash", "Exit", "the instance did not end in time")
        self._condemned_for: tuple[Verdict, int | None] | None = None
        """Why it was killed, and the call at fault (None: every open call)."""

    @property
    def condemned_for(self) -> Verdict | None:
        """Why it was killed, or None if it was not."""
        return self._condemned_for and self._condemned_for[0]

    @property
    def free_slots(self) -> int:
        """The number of calls that may begin now."""
        return self._slots - len(self._open) if self.state == "serving" else 0

    @property
    def open_calls(self) -> tuple[int, ...]:
        """The ids of the calls that have not ended."""
        return tuple(self._open)

    @property
    def next_tick_ns(self) -> int | None:
        """When `tick` must be called next; None: not before another method is called."""
        times = [call.deadline_ns + (self._grace_ns if call.overdue else 0) for call in self._open.values()]
        if self._left_ns is not None:
            times.append(self._left_ns + self._grace_ns)
        return min(times) if times and self.state in ("serving", "leaving") else None

    def begin(self, i: int, deadline_ns: int) -> None:
        """Call `i` is about to be written. Requires a free slot and an id that was never used here."""
        if self.free_slots <= 0 or i in self._open:
            raise RuntimeError(f"call {i} cannot begin: {self.state}, {len(self._open)} of {self._slots} slots taken")
        self._open[i] = _Call(deadline_ns)

    def abort(self, i: int) -> None:
        """No byte of call `i` could be written: it never began. The caller assigns the event again."""
        del self._open[i]

    def frame(self, frame: Frame, body: bytes, now_ns: int) -> list[Action]:
        """A well-formed frame has arrived."""
        if self.state in ("condemned", "dead"):
            return []
        if isinstance(frame, (ReadyFrame, UnfitFrame)):
            return self._begun(frame, now_ns)
        call = self._open.get(frame.i)
        if call is None:
            return self.breach(f"a reply to call {frame.i}, which is not open")
        if call.overdue:
            return self._late(frame, now_ns)
        if isinstance(frame, FailFrame) and frame.kind == "timeout":
            return self.breach("a timeout before the deadline", frame.i)
        if isinstance(frame, FailFrame) and frame.code == "MemoryError":
            return [self._end(frame.i, MEMORY_EXCEEDED, frame.traceback), *self._condemn(MEMORY_EXCEEDED, frame.i)]
        end = self._end(frame.i, Answered(frame, body))
        return [end] if self.state == "serving" else [end, *self._after_last(now_ns)]

    def _begun(self, frame: ReadyFrame | UnfitFrame, now_ns: int) -> list[Action]:
        """The `after_fork` hook has ended. An instance whose hook failed exits by itself."""
        if self._has_begun:
            return self.breach("a second `ready` or `unfit`")
        self._has_begun = True
        if self.state != "starting":  # asked to leave in the meantime
            return []
        if isinstance(frame, UnfitFrame):
            self._leave_by_itself(now_ns)
            return [Ready(frame)]
        self.state = "serving"
        return [Ready()]

    def _late(self, frame: Answer, now_ns: int) -> list[Action]:
        """After the deadline any answer is a timeout. Only a process with an async handler survives it."""
        traceback = "" if isinstance(frame, OkFrame) else frame.traceback
        end = self._end(frame.i, _timed_out(), traceback)
        if self._asynchronous:
            return [end, *self._after_last(now_ns)]
        return [end, *self._condemn(_timed_out(), frame.i)]

    def breach(self, how: str, i: int | None = None) -> list[Action]:
        """The guest broke the protocol, in call `i` if that is known."""
        return self._condemn(Verdict("protocol", "Breach", f"the instance sent {how}"), i)

    def end_of_file(self, now_ns: int) -> None:
        """The guest closed its end and can answer no more. It is usually dying: it has the grace to do so by itself."""
        if self.state in ("starting", "serving") or (self.state == "leaving" and self._left_ns is None):
            self._leave_by_itself(now_ns)

    def _leave_by_itself(self, now_ns: int) -> None:
        self.state = "leaving"
        self._left_ns = now_ns
        self._overstayed = Verdict("crash", "Exit", "the instance closed its connection")

    def died(self, how: Died) -> list[Action]:
        """The process and everything it started are gone. Every open call ends now."""
        if self.state == "dead":
            return []
        ends: list[Action] = [self._end(i, self._verdict_at_death(i, how)) for i in tuple(self._open)]
        self.state = "dead"
        return ends

    def _verdict_at_death(self, i: int, how: Died) -> Verdict:
        if self._open[i].overdue:
            return _timed_out()
        if self._condemned_for is None:
            return _crash(how)
        verdict, culprit = self._condemned_for
        if how.code not in (-signal.SIGKILL, None) and verdict.kind != "protocol":
            return _crash(how)  # it ended before our signal arrived; a breach stays a breach all the same
        if culprit in (None, i):
            return verdict
        return Verdict("crash", "InstanceKilled", f"the instance was killed for another call: {verdict.message}")

    def tick(self, now_ns: int) -> list[Action]:
        """Time has passed: cancel calls that are overdue, kill the instance once a grace is used up."""
        if self.state not in ("serving", "leaving"):
            return []
        actions: list[Action] = []
        for i, call in self._open.items():
            if call.overdue and now_ns >= call.deadline_ns + self._grace_ns:
                return [*actions, *self._condemn(_timed_out(), i)]
            if not call.overdue and now_ns >= call.deadline_ns:
                call.overdue = True
                actions.append(Cancel(i))
        if self._left_ns is not None and now_ns >= self._left_ns + self._grace_ns:
            actions += self._condemn(self._overstayed, None)
        return actions

    def leave(self, now_ns: int) -> list[Action]:
        """Take no more calls, finish the open ones, then end."""
        if self.state not in ("starting", "serving"):
            return []
        self.state = "leaving"
        self.was_asked_to_leave = True
        return self._after_last(now_ns)

    def kill(self, verdict: Verdict) -> list[Action]:
        """Kill the instance for a reason that is not one call's (memory, a hostile template)."""
        return self._condemn(verdict, None)

    def _condemn(self, verdict: Verdict, culprit: int | None) -> list[Action]:
        if self.state in ("condemned", "dead"):
            return []
        self.state = "condemned"
        self._condemned_for = (verdict, culprit)
        return [Kill(verdict.message)]

    def _end(self, i: int, ending: Ending, traceback: str = "") -> End:
        del self._open[i]
        return End(i, ending, traceback)

    def _after_last(self, now_ns: int) -> list[Action]:
        if self.state != "leaving" or self._open or self._left_ns is not None:
            return []
        self._left_ns = now_ns
        return [Leave()]


def _timed_out() -> Verdict:
    return Verdict("timeout", TIMEOUT, "the handler did not finish by its deadline")


def _crash(how: Died) -> Verdict:
    if how.code is None:
        return Verdict("crash", "Exit", "the instance is gone; how it ended is unknown")
    if how.code >= 0:
        return Verdict("crash", "Exit", f"the handler ended its process with {ending(how.code)}")
    return Verdict("crash", "Signal", f"the instance was ended by {ending(how.code)}")


def ending(code: int) -> str:
    """`exit code 3` or `SIGSEGV`, from the code of `Died` or of an `exited` message."""
    if code >= 0:
        return f"exit code {code}"
    return signal.Signals(-code).name if -code in signal.Signals._value2member_map_ else f"signal {-code}"
