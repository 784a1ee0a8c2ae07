"""The life of a connection as a table, which has the next phase and an action for each signal in each phase.

    IDLE    waits for the first byte of a request        overdue: closed without an answer
    HEAD    a request has begun                          overdue: 408
    BUSY    a request is being answered                  overdue only after the client half-closed: cut
    BODY    the rest of the request's body is missing    overdue: 408
    WRITE   the client has to read before it goes on     overdue: cut
    ENDING  nothing more is served or answered           overdue: cut
    GONE    the transport is closed                      never overdue

Invariants, which tests/unit/triggers/test_http_life.py checks on every path through the table:

- An answer is written only in BUSY, and finishing it leaves BUSY. So a request gets at most one answer, and the task,
  which waits or ends in every other phase, never spins.
- ENDING leads only to GONE, and GONE leads nowhere. So nothing is served after the last answer.
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

    __hash__ = object.__hash__  # Enum's own is Python code, and every request looks up two of these


class Signal(Enum):
    """What happens to a connection: the client, the task, the clock or the server causes it."""

    BEGUN = "the first bytes of a request have arrived"
    READY = "a request can be served, or refused"
    BODY_MISSING = "the rest of the body has not arrived"
    UNREAD = "the client is not reading the answer"
    READ = "the client has read most of the answer"
    ANSWERED = "the answer is written, and another request may follow"
    LAST = "the last answer is written"
    CLIENT_DONE = "the client will send nothing more (EOF)"
    OVERDUE = "the deadline has passed"
    RETIRED = "the server is stopping and waits for no more requests"
    CUT = "the server is stopping and waits for nothing"
    FAILED = "the connection cannot be used any more"
    LOST = "the transport is closed"

    __hash__ = object.__hash__


class Act(Enum):
    """What the connection does in response."""

    NOTHING = "nothing"
    SERVE = "serve the request"
    WAKE = "go on with what was waited for"
    TIME_OUT = "go on with a 408"
    LINGER = "send EOF, then discard what the client sends"
    CLOSE = "close after everything is sent"
    STOP = "answer 503, then close"
    ABORT = "close at once"
    CANCEL = "cancel the task"

    __hash__ = object.__hash__


_Step = tuple[Phase, Act]
_OPEN = (Phase.IDLE, Phase.HEAD, Phase.BUSY, Phase.BODY, Phase.WRITE)
_END_AT_ONCE: _Step = (Phase.ENDING, Act.ABORT)
_END_IN_ORDER: _Step = (Phase.ENDING, Act.CLOSE)

_CHANGES: dict[Signal, dict[Phase, _Step]] = {
    Signal.BEGUN: {Phase.IDLE: (Phase.HEAD, Act.NOTHING)},
    Signal.READY: dict.fromkeys((Phase.IDLE, Phase.HEAD, Phase.BODY), (Phase.BUSY, Act.SERVE)),
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


STEPS: dict[Signal, dict[Phase, _Step]] = {
    signal: {phase: _CHANGES[signal].get(phase, (phase, Act.NOTHING)) for phase in Phase} for signal in Signal
}
"""All pairs. One that is not among the changes changes nothing: the signal came too late."""
