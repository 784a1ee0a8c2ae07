"""The life of one call as a table: for each state and input, the next state and what follows.

Theory of operation. A call begins when its `invoke` frame is written. From then on the guest's frames, the deadline and
the death of the process race. Each is one input here, in the order in which the server saw it; `TABLE` says what
follows, and `BREACHES` why a guest may not send the other frames. The call ends once, because `ENDED` has no row.

    running ──► streaming          by `head`
       │            │              by the deadline: `cancel` is sent
       ▼            ▼
    overdue ──► overdue streaming  by `head`; from here on every end is a timeout

The table knows the order of frames, `Streams` how much of what the call has asked for is left.
`calls.py` has all calls of an instance and carries out what follows.
"""

from enum import StrEnum
from typing import Final, Literal, NamedTuple

from msgspec import Struct

from sandbox.frames import (
    NOTHING,
    Asked,
    CallFrame,
    ChunkFrame,
    CreditFrame,
    EndFrame,
    FailFrame,
    HeadFrame,
    OfCall,
    OkFrame,
)


class State(StrEnum):
    """The state of a call."""

    RUNNING = "running"
    STREAMING = "streaming"
    """the response has begun"""
    OVERDUE = "overdue"
    """the deadline has passed, and `cancel` was sent"""
    OVERDUE_STREAMING = "overdue streaming"
    ENDED = "ended"


class Input(StrEnum):
    """An event in the life of a call: a frame of the guest, or what the server noticed itself."""

    OK = "ok"
    FAIL = "fail"
    TIMEOUT = "timeout"
    """a `fail` that says that the deadline ended the handler"""
    MEMORY = "memory"
    """a `fail` that says that the process has no memory left"""
    HEAD = "head"
    CHUNK = "chunk"
    END = "end"
    CREDIT = "credit"
    CALL = "call"
    DEADLINE = "deadline"
    GRACE_OVER = "grace over"
    DIED = "died"


class Effect(StrEnum):
    """What follows from an input."""

    ANSWER = "answer"
    """the frame is the end of the call"""
    HAND_OVER = "hand over"
    """the frame goes to whoever began the call"""
    IGNORE = "ignore"
    CANCEL = "cancel"
    TIME_OUT = "time out"
    """the call ends as a timeout; the process of a sync handler is condemned"""
    RUN_OUT = "run out"
    """the call ends for want of memory; the process is condemned"""
    CONDEMN = "condemn"
    """the process is condemned; the call ends at its death"""
    CRASH = "crash"
    """the call ends with the process, for the reason of its death"""
    CRASH_LATE = "crash late"
    """the call ends with the process, as a timeout"""


class Step(NamedTuple):
    """One cell of the table."""

    next: State
    effect: Effect


def _to(state: State, effect: Effect) -> Step:
    return Step(state, effect)


TABLE: Final[dict[State, dict[Input, Step]]] = {
    State.RUNNING: {
        Input.OK: _to(State.ENDED, Effect.ANSWER),
        Input.FAIL: _to(State.ENDED, Effect.ANSWER),
        Input.MEMORY: _to(State.ENDED, Effect.RUN_OUT),
        Input.HEAD: _to(State.STREAMING, Effect.HAND_OVER),
        Input.CREDIT: _to(State.RUNNING, Effect.HAND_OVER),
        Input.CALL: _to(State.RUNNING, Effect.HAND_OVER),
        Input.DEADLINE: _to(State.OVERDUE, Effect.CANCEL),
        Input.DIED: _to(State.ENDED, Effect.CRASH),
    },
    State.STREAMING: {
        Input.FAIL: _to(State.ENDED, Effect.ANSWER),
        Input.MEMORY: _to(State.ENDED, Effect.RUN_OUT),
        Input.CHUNK: _to(State.STREAMING, Effect.HAND_OVER),
        Input.END: _to(State.ENDED, Effect.ANSWER),
        Input.CREDIT: _to(State.STREAMING, Effect.HAND_OVER),
        Input.CALL: _to(State.STREAMING, Effect.HAND_OVER),
        Input.DEADLINE: _to(State.OVERDUE_STREAMING, Effect.CANCEL),
        Input.DIED: _to(State.ENDED, Effect.CRASH),
    },
    State.OVERDUE: {  # the guest may have sent these before it read `cancel`
        Input.OK: _to(State.ENDED, Effect.TIME_OUT),
        Input.FAIL: _to(State.ENDED, Effect.TIME_OUT),
        Input.TIMEOUT: _to(State.ENDED, Effect.TIME_OUT),
        Input.MEMORY: _to(State.ENDED, Effect.TIME_OUT),
        Input.HEAD: _to(State.OVERDUE_STREAMING, Effect.IGNORE),
        Input.CREDIT: _to(State.OVERDUE, Effect.IGNORE),
        Input.CALL: _to(State.OVERDUE, Effect.IGNORE),
        Input.GRACE_OVER: _to(State.OVERDUE, Effect.CONDEMN),
        Input.DIED: _to(State.ENDED, Effect.CRASH_LATE),
    },
    State.OVERDUE_STREAMING: {
        Input.FAIL: _to(State.ENDED, Effect.TIME_OUT),
        Input.TIMEOUT: _to(State.ENDED, Effect.TIME_OUT),
        Input.MEMORY: _to(State.ENDED, Effect.TIME_OUT),
        Input.CHUNK: _to(State.OVERDUE_STREAMING, Effect.IGNORE),
        Input.END: _to(State.ENDED, Effect.TIME_OUT),
        Input.CREDIT: _to(State.OVERDUE_STREAMING, Effect.IGNORE),
        Input.CALL: _to(State.OVERDUE_STREAMING, Effect.IGNORE),
        Input.GRACE_OVER: _to(State.OVERDUE_STREAMING, Effect.CONDEMN),
        Input.DIED: _to(State.ENDED, Effect.CRASH_LATE),
    },
}
"""An ended call has no row: whatever the guest still sends for it is a breach."""

_IN_TIME = frozenset({State.RUNNING, State.STREAMING})
_LATE = frozenset({State.OVERDUE, State.OVERDUE_STREAMING})
_WITHOUT_HEAD = frozenset({State.RUNNING, State.OVERDUE})
_WITH_HEAD = frozenset({State.STREAMING, State.OVERDUE_STREAMING})

BREACHES: Final[dict[Input, tuple[frozenset[State], str]]] = {
    Input.OK: (_WITH_HEAD, "an `ok` after a `head`; `end` ends a response that has begun"),
    Input.TIMEOUT: (_IN_TIME, "a timeout before the deadline"),
    Input.HEAD: (_WITH_HEAD, "a second `head`"),
    Input.CHUNK: (_WITHOUT_HEAD, "a `chunk` before a `head`"),
    Input.END: (_WITHOUT_HEAD, "an `end` before a `head`"),
}
"""The frames that a guest may not send in these states, and what the breach says."""

IMPOSSIBLE: Final[dict[Input, tuple[frozenset[State], str]]] = {
    Input.DEADLINE: (_LATE, "a deadline passes once"),
    Input.GRACE_OVER: (_IN_TIME, "the grace begins at the deadline"),
}
"""The pairs that cannot occur, and why. `TABLE`, `BREACHES` and this cover every pair of an open call."""

COUNTED: Final = frozenset({Input.HEAD, Input.CHUNK, Input.CREDIT, Input.CALL})
"""The frames that are legal only if the call has asked for them, and only so many: see `Streams`."""


class Streams(Struct):
    """What is left of what a call has asked for. Both methods count what they allow."""

    asked: Asked
    sends: bool
    """Whether the request's body goes on."""
    response_credit: int
    request_credit: int = 0
    called: int = 0
    """The number of the latest call from inside the handler."""
    inner: set[int] = set()
    """Those that wait for their reply."""

    @classmethod
    def of(cls, asked: Asked) -> "Streams":
        """The account of a call that has just begun."""
        return cls(asked, asked.more, asked.credit or 0)

    def refusal(self, frame: OfCall, body_bytes: int) -> str | None:
        """Why the guest may not send this frame, although it may send its kind now; None: it may."""
        match frame:
            case HeadFrame() if self.asked.credit is None:
                return "a `head`, but no response stream was asked for"
            case ChunkFrame() if body_bytes > self.response_credit:
                return f"a `chunk` of {body_bytes} bytes with a credit of {self.response_credit}"
            case ChunkFrame():
                self.response_credit -= body_bytes
            case CreditFrame() if not self.asked.more:
                return "a `credit`, but the request's body was complete"
            case CreditFrame():  # it may have crossed our `end`
                self.request_credit += frame.bytes
            case CallFrame() if frame.c <= self.called:
                return f"a `call` {frame.c} after number {self.called}"
            case CallFrame() if len(self.inner) >= self.asked.calls:
                return f"a `call` beside {len(self.inner)} others; {self.asked.calls} at once were asked for"
            case CallFrame():
                self.called = frame.c
                self.inner.add(frame.c)
        return None

    def may_send(self, kind: Literal["chunk", "end", "credit", "reply"], number: int) -> bool:
        """Whether the server may write this frame: see `Calls.may_send`."""
        match kind:
            case "chunk":
                allowed = self.sends and number <= self.request_credit
                self.request_credit -= number if allowed else 0
            case "end":
                allowed, self.sends = self.sends, False
            case "credit":
                allowed = self.asked.credit is not None
                self.response_credit += number if allowed else 0
            case "reply":
                allowed = number in self.inner
                self.inner.discard(number)
        return allowed


NOTHING_LEFT: Final = Streams(NOTHING, sends=False, response_credit=0)
"""Of a call that asked for nothing. It allows nothing, so it never changes, and all such calls share it."""


class Call(Struct, gc=False):
    """One open call. `deadline_ns` is a time of CLOCK_MONOTONIC."""

    deadline_ns: int
    streams: Streams
    state: State = State.RUNNING

    @property
    def is_overdue(self) -> bool:
        """Whether the deadline has passed, so that the call can only end as a timeout."""
        return self.state in _LATE


_INPUTS = {
    OkFrame: Input.OK,
    FailFrame: Input.FAIL,
    HeadFrame: Input.HEAD,
    ChunkFrame: Input.CHUNK,
    EndFrame: Input.END,
    CreditFrame: Input.CREDIT,
    CallFrame: Input.CALL,
}


def input_of(frame: OfCall) -> Input:
    """The input that a frame is."""
    if not isinstance(frame, FailFrame):
        return _INPUTS[type(frame)]
    if frame.kind == "timeout":
        return Input.TIMEOUT
    return Input.MEMORY if frame.code == "MemoryError" else Input.FAIL
