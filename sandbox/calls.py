"""The end of a call, decided in one place: the pure state machine of one instance.

Theory of operation. A reply, a guest's failure, the deadline, the process's death, end of file and a breach of protocol
all race. Each arrives here as one method call, in the order in which the dispatcher happened to see
it; each returns the actions to carry out. A call is `open`, then perhaps `overdue`, and ends exactly once: an `End`
action is returned for it once, and only from here. The I/O around it (`instance.py`) decides nothing.

An instance with an `after_fork` hook is `starting` until that has run; no call begins before. Then, or at once, it is
`serving`, then perhaps `leaving` (it takes no more calls and ends by itself), perhaps `condemned`
(SIGKILL was sent; nothing it says counts any more), and at last `dead`. Death is what the dispatcher has verified, with
everything the instance started. A condemned instance's calls end at its death, not before: until then it still runs.
"""

import signal
from typing import Final, Literal

from msgspec import Struct

from bus.outcome import Code
from sandbox.wire import Answer, FailFrame, Frame, OkFrame, ReadyFrame, UnfitFrame


class Died(Struct, frozen=True):
    """How a process ended: its exit code, or minus the signal; None where nobody could tell."""

    code: int | None


class Verdict(Struct, frozen=True):
    """A failure the dispatcher itself finds; `innocent` is a call that died for a neighbour's."""

    kind: Literal["timeout", "crash", "protocol"]
    code: Code
    message: str


class Answered(Struct, frozen=True, gc=False):
    """The guest's own answer."""

    frame: Answer
    body: bytes


Ending = Answered | Verdict


class End(Struct, frozen=True, gc=False):
    """Action: call `i` has ended so. `traceback` is the guest's, if it gave one for a verdict of ours."""

    i: int
    ending: Ending
    traceback: str = ""


class Ready(Struct, frozen=True):
    """Action: calls may begin, as the `after_fork` hook has run; or with `unfit` it failed, and none ever will."""

    unfit: UnfitFrame | None = None


class Cancel(Struct, frozen=True):
    """Action: tell the guest that call `i` is overdue: a stack dump, a `cancel` frame, SIGTERM for a sync handler."""

    i: int


class Kill(Struct, frozen=True):
    """Action: SIGKILL the instance and everything it started."""

    reason: str


class Leave(Struct, frozen=True):
    """Action: close our end for writing; the guest runs its `stop` hook and exits."""


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
        """When either end was closed, so that a `stop` hook has its grace and no more."""
        self.was_told_to_leave = False
        self._overstayed = Verdict("crash", "Exit", "the instance did not end in time")
        self._condemned_for: tuple[Verdict, int | None] | None = None
        """Why it was killed, and the call at fault; None blames every open call."""

    @property
    def condemned_for(self) -> Verdict | None:
        """Why it was killed, or None if it was not."""
        return self._condemned_for and self._condemned_for[0]

    @property
    def free_slots(self) -> int:
        """How many more calls may begin now."""
        return self._slots - len(self._open) if self.state == "serving" else 0

    @property
    def open_calls(self) -> tuple[int, ...]:
        """The ids of the calls that have not ended."""
        return tuple(self._open)

    @property
    def next_tick_ns(self) -> int | None:
        """When `tick` has something to do at the earliest; None: not until something else happens."""
        times = [call.deadline_ns + (self._grace_ns if call.overdue else 0) for call in self._open.values()]
        if self._left_ns is not None:
            times.append(self._left_ns + self._grace_ns)
        return min(times) if times and self.state in ("serving", "leaving") else None

    def begin(self, i: int, deadline_ns: int) -> None:
        """Call `i` is about to be written. Needs a free slot and an id never used here before."""
        if self.free_slots <= 0 or i in self._open:
            raise RuntimeError(f"call {i} cannot begin: {self.state}, {len(self._open)} of {self._slots} slots taken")
        self._open[i] = _Call(deadline_ns)

    def abort(self, i: int) -> None:
        """Call `i` could not be written at all: it never began, and ends elsewhere."""
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
        """The `after_fork` hook has ended; whoever failed in it ends by itself."""
        if self._has_begun:
            return self.breach("the frame that comes first, once more")
        self._has_begun = True
        if self.state != "starting":  # it was told to leave meanwhile
            return []
        if isinstance(frame, UnfitFrame):
            self._leave_by_itself(now_ns)
            return [Ready(frame)]
        self.state = "serving"
        return [Ready()]

    def _late(self, frame: Answer, now_ns: int) -> list[Action]:
        """Whatever a guest says after the deadline, the call has timed out; the process survives only if async."""
        traceback = "" if isinstance(frame, OkFrame) else frame.traceback
        end = self._end(frame.i, _timed_out(), traceback)
        if self._asynchronous:
            return [end, *self._after_last(now_ns)]
        return [end, *self._condemn(_timed_out(), frame.i)]

    def breach(self, how: str, i: int | None = None) -> list[Action]:
        """The guest broke the protocol, in call `i` if that can be told."""
        return self._condemn(Verdict("protocol", "Breach", f"the instance sent {how}"), i)

    def end_of_file(self, now_ns: int) -> None:
        """The guest closed its end: it can answer no more. Mostly it dies, so it has the grace to show how."""
        if self.state in ("starting", "serving") or (self.state == "leaving" and self._left_ns is None):
            self._leave_by_itself(now_ns)

    def _leave_by_itself(self, now_ns: int) -> None:
        self.state = "leaving"
        self._left_ns = now_ns
        self._overstayed = Verdict("crash", "Exit", "the instance closed its connection")

    def died(self, how: Died) -> list[Action]:
        """The process and all it started are gone. Every call still open ends now."""
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
            return _crash(how)  # it was quicker than our signal; but no own end undoes a breach
        if culprit in (None, i):
            return verdict
        return Verdict("crash", "InstanceKilled", f"the instance was killed for another call: {verdict.message}")

    def tick(self, now_ns: int) -> list[Action]:
        """Time has passed: cancel what is overdue, kill what has used up its grace."""
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
        """Take no more calls, finish what runs, then end."""
        if self.state not in ("starting", "serving"):
            return []
        self.state = "leaving"
        self.was_told_to_leave = True
        return self._after_last(now_ns)

    def kill(self, verdict: Verdict) -> list[Action]:
        """End it now, for a reason outside any one call (memory, a hostile template)."""
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
        return Verdict("crash", "Exit", "the instance is gone; nobody could tell how it ended")
    if how.code >= 0:
        return Verdict("crash", "Exit", f"the handler ended its process with {ending(how.code)}")
    return Verdict("crash", "Signal", f"the instance was ended by {ending(how.code)}")


def ending(code: int) -> str:
    """`exit code 3` or `SIGSEGV`, of what `Died` and `exited` messages tell."""
    if code >= 0:
        return f"exit code {code}"
    return signal.Signals(-code).name if -code in signal.Signals._value2member_map_ else f"signal {-code}"
