"""The life of a connection as a table. Pure: `step` says what follows from what happens, the connection does it.

    IDLE    waits for the first byte of a request        overdue: closed without a word
    HEAD    a request has begun                          overdue: 408
    BUSY    the task has a request                       overdue only once the client sends no more: cut
    BODY    the task waits for the rest of the body      overdue: 408
    WRITE   the task waits until the client reads        overdue: cut
    ENDING  nothing more is served or answered           overdue: cut
    GONE    the transport is closed                      never overdue

Invariants, which tests/unit/triggers/test_http_life.py tries on every path through the table:

- Only BUSY answers, and what ends an answer leaves BUSY. So a request gets one answer at most, and the task, which
  answers only in BUSY and waits or ends in every other phase, never turns in a circle.
- ENDING leads only to GONE, and GONE nowhere. So no request is served after the last answer, whatever else comes.
"""

from enum import Enum


class Phase(Enum):
    IDLE = "idle"
    HEAD = "head"
    BUSY = "busy"
    BODY = "body"
    WRITE = "write"
    ENDING = "ending"
    GONE = "gone"

    __hash__ = object.__hash__  # Enum's own runs in Python; this one is looked up twice for each request


class Signal(Enum):
    """What happens to a connection: at the client's, the task's, the clock's or the server's will."""

    BEGUN = "the first bytes of a request have come"
    READY = "what the task waits for has come"
    BODY_MISSING = "the task needs the rest of the body"
    UNREAD = "the client does not take the answer"
    READ = "the client has taken most of it"
    ANSWERED = "the answer is written, and another request may follow"
    LAST = "the last answer is written"
    CLIENT_DONE = "the client sends no more (EOF)"
    OVERDUE = "the deadline has passed"
    RETIRED = "the server ends and waits for no more requests"
    CUT = "the server ends and waits for nothing"
    FAILED = "nothing good can follow"
    LOST = "the transport is closed"

    __hash__ = object.__hash__


class Act(Enum):
    """What the connection has to do about it."""

    NOTHING = "nothing"
    WAKE = "wake the task"
    TIME_OUT = "wake the task with a 408"
    LINGER = "send EOF, then read into the void"
    CLOSE = "close once everything is sent"
    STOP = "answer 503, then close"
    ABORT = "close at once"
    CANCEL = "cancel the task"

    __hash__ = object.__hash__


_Step = tuple[Phase, Act]
_OPEN = (Phase.IDLE, Phase.HEAD, Phase.BUSY, Phase.BODY, Phase.WRITE)
_END_AT_ONCE: _Step = (Phase.ENDING, Act.ABORT)
_END_IN_ORDER: _Step = (Phase.ENDING, Act.CLOSE)

_TABLE: dict[Signal, dict[Phase, _Step]] = {
    Signal.BEGUN: {Phase.IDLE: (Phase.HEAD, Act.NOTHING)},
    Signal.READY: dict.fromkeys((Phase.IDLE, Phase.HEAD, Phase.BODY), (Phase.BUSY, Act.WAKE)),
    Signal.BODY_MISSING: {Phase.BUSY: (Phase.BODY, Act.NOTHING)},
    Signal.UNREAD: {Phase.BUSY: (Phase.WRITE, Act.NOTHING)},
    Signal.READ: {Phase.WRITE: (Phase.BUSY, Act.WAKE)},
    Signal.ANSWERED: {Phase.BUSY: (Phase.IDLE, Act.NOTHING)},
    Signal.LAST: {Phase.BUSY: (Phase.ENDING, Act.LINGER)},
    Signal.CLIENT_DONE: dict.fromkeys((Phase.IDLE, Phase.HEAD, Phase.BODY, Phase.ENDING), _END_IN_ORDER),
    Signal.OVERDUE: {
        Phase.IDLE: _END_IN_ORDER,
        Phase.HEAD: (Phase.BUSY, Act.TIME_OUT),
        Phase.BODY: (Phase.BUSY, Act.TIME_OUT),
        Phase.BUSY: _END_AT_ONCE,
        Phase.WRITE: _END_AT_ONCE,
        Phase.ENDING: _END_AT_ONCE,
    },
    Signal.RETIRED: {Phase.IDLE: _END_IN_ORDER},
    Signal.CUT: {**dict.fromkeys(_OPEN, _END_AT_ONCE), Phase.BUSY: (Phase.ENDING, Act.STOP)},
    Signal.FAILED: dict.fromkeys(_OPEN, _END_AT_ONCE),
    Signal.LOST: dict.fromkeys((*_OPEN, Phase.ENDING), (Phase.GONE, Act.CANCEL)),
}


def step(phase: Phase, signal: Signal) -> tuple[Phase, Act]:
    """(the phase that follows, what to do). What is not in the table changes nothing: it comes too late to matter."""
    return _TABLE[signal].get(phase) or (phase, Act.NOTHING)
