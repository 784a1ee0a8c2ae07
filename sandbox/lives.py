"""The life of a template as one table: for each state and input, the next state and the actions to carry out.

Theory of operation. The server opens a box, a zygote forks the template's process into it, and this imports the
function, forks instances on request, and ends because it was retired, because its control socket was closed, or by
itself. These race with one another and with the requests under way. Each reaches `Life.on` as one input, in the order
in which the server saw it; `TABLE` says what follows, and `IMPOSSIBLE` why the other pairs cannot occur. `template.py`
does the I/O.

    opening ─► unborn ─► loading ─► live ─► replaced ─► retired ─► ending ─► dead ─► swept ─► closing ─► gone
                                     └────► becoming ─► instance ───────────┘

Each fork under way and each unburied instance holds its template; `ONCE_UNHELD` lists the states that wait until
nothing holds it. So a box closes after the last process in it, however the template ends. Where there are no
namespaces, nothing is opened: `OPENED` and `CLOSED` follow at once. If a box ends by itself, the kernel has killed all
that was in it, and the control socket is closed like that of any template that dies (`CUT_OFF`).
"""

from enum import StrEnum
from typing import NamedTuple


class State(StrEnum):
    """The state of a template."""

    OPENING = "opening"
    """its box is being opened"""
    CALLED_OFF = "called off"
    """retired before its box was open"""
    UNBORN = "unborn"
    """the zygote has been asked to fork its process"""
    UNWANTED = "unwanted"
    """retired before it was born"""
    LOADING = "loading"
    LIVE = "live"
    """forks instances on request"""
    BECOMING = "becoming"
    """asked to turn into an instance"""
    INSTANCE = "instance"
    """has become an instance; its control socket closes by itself"""
    REPLACED = "replaced"
    """forks no more, because a better one of the same version does; its instances serve on"""
    RETIRED = "retired"
    """forks no more; its instances finish their calls"""
    ENDING = "ending"
    """its control socket is closed: it exits by itself, or was killed"""
    DEAD = "dead"
    """dead, and what it left behind is not swept yet"""
    SWEPT = "swept"
    """dead and swept, but some of its instances live on"""
    CLOSING = "closing"
    """nothing of it is left but its box, which is being closed"""
    GONE = "gone"


class Input(StrEnum):
    """An event in the life of a template."""

    OPENED = "opened"
    UNOPENED = "unopened"
    """its box could not be opened, and nothing is left of the attempt"""
    BORN = "born"
    STILLBORN = "stillborn"
    """the zygote could not fork it"""
    LOADED = "loaded"
    FORK = "fork"
    """an instance was requested"""
    BECOME = "become"
    """an instance was requested of a template that must not fork: it becomes the instance itself"""
    BECAME = "became"
    LET_GO = "let go"
    """a fork failed, or an instance is buried"""
    REPLACE = "replace"
    """another template of the same version forks from now on"""
    RETIRE = "retire"
    CUT_OFF = "cut off"
    """either side closed the control socket"""
    OVERDUE = "overdue"
    """it has not exited in time"""
    DIED = "died"
    """the pidfd is readable"""
    SWEPT = "swept"
    """the zygote has killed and reaped what the template left behind"""
    CLOSED = "closed"
    """the box is gone, with whatever was in it"""


class Action(StrEnum):
    """A step for `template.py` to carry out."""

    REFUSE = "refuse"
    """raise Ended to the caller that requested an instance"""
    WITHDRAW = "withdraw"
    """notify the tree that this template starts no more instances"""
    DISMISS = "dismiss"
    """have the instances finish their calls, then leave"""
    HANG_UP = "hang up"
    """close the control socket, so that a template that listens exits; if it does not, OVERDUE follows"""
    KILL = "kill"
    SWEEP = "sweep"
    """have the zygote clean up; SWEPT follows"""
    RELEASE = "release"
    """close the lifeline: a newborn instance is in its process group until it has a session of its own"""
    CLOSE = "close"
    """close the box; CLOSED follows"""
    FINISH = "finish"
    """notify the tree that nothing is left"""


class Step(NamedTuple):
    """One cell of the table."""

    next: State
    actions: tuple[Action, ...] = ()


def _to(state: State, *actions: Action) -> Step:
    return Step(state, actions)


TABLE: dict[State, dict[Input, Step]] = {
    State.OPENING: {
        Input.OPENED: _to(State.UNBORN),
        Input.UNOPENED: _to(State.GONE, Action.FINISH),
        Input.RETIRE: _to(State.CALLED_OFF, Action.WITHDRAW),
    },
    State.CALLED_OFF: {
        Input.OPENED: _to(State.CLOSING, Action.CLOSE),
        Input.UNOPENED: _to(State.GONE, Action.FINISH),
        Input.RETIRE: _to(State.CALLED_OFF),
    },
    State.UNBORN: {
        Input.BORN: _to(State.LOADING),
        Input.STILLBORN: _to(State.CLOSING, Action.CLOSE),
        Input.RETIRE: _to(State.UNWANTED, Action.WITHDRAW),
    },
    State.UNWANTED: {
        Input.BORN: _to(State.ENDING, Action.HANG_UP, Action.KILL),
        Input.STILLBORN: _to(State.CLOSING, Action.CLOSE),
        Input.RETIRE: _to(State.UNWANTED),
    },
    State.LOADING: {  # it does not listen while it imports, so hanging up alone would not end it
        Input.LOADED: _to(State.LIVE),
        Input.RETIRE: _to(State.ENDING, Action.WITHDRAW, Action.HANG_UP, Action.KILL),
        Input.CUT_OFF: _to(State.ENDING, Action.WITHDRAW, Action.KILL),
    },
    State.LIVE: {
        Input.FORK: _to(State.LIVE),
        Input.BECOME: _to(State.BECOMING, Action.WITHDRAW),
        Input.LET_GO: _to(State.LIVE),
        Input.REPLACE: _to(State.REPLACED, Action.WITHDRAW),
        Input.RETIRE: _to(State.RETIRED, Action.WITHDRAW, Action.DISMISS),
        Input.CUT_OFF: _to(State.ENDING, Action.WITHDRAW, Action.KILL, Action.DISMISS),
    },
    State.BECOMING: {
        Input.BECAME: _to(State.INSTANCE),
        Input.LET_GO: _to(State.BECOMING),
        Input.RETIRE: _to(State.BECOMING),
        Input.CUT_OFF: _to(State.ENDING, Action.KILL),
    },
    State.INSTANCE: {
        Input.LET_GO: _to(State.INSTANCE),
        Input.RETIRE: _to(State.INSTANCE, Action.DISMISS),
        Input.CUT_OFF: _to(State.INSTANCE),
        Input.DIED: _to(State.DEAD, Action.SWEEP),
    },
    State.REPLACED: {
        Input.FORK: _to(State.REPLACED, Action.REFUSE),
        Input.LET_GO: _to(State.REPLACED),
        Input.RETIRE: _to(State.RETIRED, Action.DISMISS),
        Input.CUT_OFF: _to(State.ENDING, Action.KILL, Action.DISMISS),
    },
    State.RETIRED: {
        Input.FORK: _to(State.RETIRED, Action.REFUSE),
        Input.LET_GO: _to(State.RETIRED),
        Input.RETIRE: _to(State.RETIRED, Action.DISMISS),
        Input.CUT_OFF: _to(State.ENDING, Action.KILL, Action.DISMISS),
    },
    State.ENDING: {
        Input.LOADED: _to(State.ENDING),
        Input.FORK: _to(State.ENDING, Action.REFUSE),
        Input.BECOME: _to(State.ENDING, Action.REFUSE),
        Input.BECAME: _to(State.ENDING),
        Input.LET_GO: _to(State.ENDING),
        Input.RETIRE: _to(State.ENDING, Action.DISMISS),
        Input.CUT_OFF: _to(State.ENDING),
        Input.OVERDUE: _to(State.ENDING, Action.KILL),
        Input.DIED: _to(State.DEAD, Action.SWEEP),
    },
    State.DEAD: {
        Input.LOADED: _to(State.DEAD),
        Input.FORK: _to(State.DEAD, Action.REFUSE),
        Input.BECOME: _to(State.DEAD, Action.REFUSE),
        Input.BECAME: _to(State.DEAD),
        Input.LET_GO: _to(State.DEAD),
        Input.RETIRE: _to(State.DEAD, Action.DISMISS),
        Input.OVERDUE: _to(State.DEAD),
        Input.SWEPT: _to(State.SWEPT),
    },
    State.SWEPT: {
        Input.FORK: _to(State.SWEPT, Action.REFUSE),
        Input.BECAME: _to(State.SWEPT),
        Input.LET_GO: _to(State.SWEPT),
        Input.RETIRE: _to(State.SWEPT, Action.DISMISS),
    },
    State.CLOSING: {
        Input.LOADED: _to(State.CLOSING),
        Input.FORK: _to(State.CLOSING, Action.REFUSE),
        Input.BECOME: _to(State.CLOSING, Action.REFUSE),
        Input.RETIRE: _to(State.CLOSING),
        Input.OVERDUE: _to(State.CLOSING),
        Input.CLOSED: _to(State.GONE, Action.FINISH),
    },
    State.GONE: {
        Input.LOADED: _to(State.GONE),
        Input.FORK: _to(State.GONE, Action.REFUSE),
        Input.BECOME: _to(State.GONE, Action.REFUSE),
        Input.RETIRE: _to(State.GONE),
        Input.OVERDUE: _to(State.GONE),
    },
}

ONCE_UNHELD: dict[State, Step] = {
    State.BECOMING: _to(State.ENDING, Action.HANG_UP, Action.KILL),
    State.REPLACED: _to(State.ENDING, Action.HANG_UP),
    State.RETIRED: _to(State.ENDING, Action.HANG_UP),
    State.SWEPT: _to(State.CLOSING, Action.RELEASE, Action.CLOSE),
}

_ALL = frozenset(State)
_BOXLESS = frozenset({State.OPENING, State.CALLED_OFF})
_ASKED_FOR = frozenset({State.UNBORN, State.UNWANTED})
_UNMADE = _BOXLESS | _ASKED_FOR
_WORKING = frozenset({State.LOADING, State.LIVE, State.BECOMING, State.INSTANCE, State.REPLACED, State.RETIRED})
_OVER = frozenset({State.DEAD, State.SWEPT, State.CLOSING, State.GONE})
_NOT_LIVE_YET = _UNMADE | {State.LOADING}
_TAKEN = frozenset({State.BECOMING, State.INSTANCE})
_HELD = frozenset({State.REPLACED, State.RETIRED, State.SWEPT})

IMPOSSIBLE: dict[Input, tuple[frozenset[State], str]] = {
    Input.OPENED: (_ALL - _BOXLESS, "its box is opened once"),
    Input.UNOPENED: (_ALL - _BOXLESS, "its box is opened once"),
    Input.BORN: (_ALL - _ASKED_FOR, "the zygote is asked for it once, in an open box"),
    Input.STILLBORN: (_ALL - _ASKED_FOR, "the zygote is asked for it once, in an open box"),
    Input.LOADED: (_UNMADE | _WORKING - {State.LOADING} | {State.SWEPT}, "it loads once, before anything holds it"),
    Input.FORK: (_NOT_LIVE_YET | _TAKEN, "the tree asks live templates only"),
    Input.BECOME: (_NOT_LIVE_YET | _TAKEN | _HELD, "the tree asks once, when it is live and nothing holds it"),
    Input.BECAME: (
        _NOT_LIVE_YET | {State.LIVE, State.INSTANCE, State.REPLACED, State.RETIRED, State.CLOSING, State.GONE},
        "it was not asked to",
    ),
    Input.LET_GO: (_NOT_LIVE_YET | {State.CLOSING, State.GONE}, "nothing holds it"),
    Input.REPLACE: (_ALL - {State.LIVE}, "the tree replaces the template that forks"),
    Input.RETIRE: (frozenset(), ""),
    Input.CUT_OFF: (_UNMADE | _OVER, "the socket exists from its birth to its death"),
    Input.OVERDUE: (_UNMADE | _WORKING | {State.SWEPT}, "the limit starts when a template that nothing holds ends"),
    Input.DIED: (_UNMADE | _OVER | _WORKING - {State.INSTANCE}, "its control socket is closed first, and that ends it"),
    Input.SWEPT: (_ALL - {State.DEAD}, "the zygote is asked to sweep once, at its death"),
    Input.CLOSED: (_ALL - {State.CLOSING}, "its box is closed once, after the last process in it"),
}
"""The pairs that cannot occur, and why. Together with `TABLE` they cover every pair."""


class Life:
    """The state of one template, and the number of its holders."""

    def __init__(self) -> None:
        self.state = State.OPENING
        self.reason: str | None = None
        """Why it forks no more, or None while it does or may yet."""
        self._holders = 0

    @property
    def is_dead(self) -> bool:
        """Whether its process has ended; what it left behind may not be swept yet."""
        return self.state in _OVER

    @property
    def reaps(self) -> bool:
        """Whether it reaps its instances itself and reports them; otherwise the zygote does."""
        return self.state in (State.LIVE, State.REPLACED, State.RETIRED, State.ENDING)

    @property
    def keeps_newborns(self) -> bool:
        """Whether an instance that was requested before may serve."""
        return self.reason is None or self.state is State.REPLACED

    def on(self, what: Input, reason: str | None = None) -> tuple[Action, ...]:
        """Advance; returns the actions in order. An input that ends the template has a `reason`; the first counts."""
        step = TABLE[self.state].get(what)
        if step is None:
            raise RuntimeError(f"a template that is {self.state} got the input {what!r}: {IMPOSSIBLE[what][1]}")
        self.reason = self.reason or reason
        self._holders += what in (Input.FORK, Input.BECOME) and Action.REFUSE not in step.actions
        self._holders -= what is Input.LET_GO
        self.state = step.next
        last = None if self._holders else ONCE_UNHELD.get(self.state)
        if last is None:
            return step.actions
        self.state = last.next
        return step.actions + last.actions
