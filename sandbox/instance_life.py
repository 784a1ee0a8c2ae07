"""The life of an instance as a table: for each state and input, the next state and what follows.

    starting ──► serving ──► leaving ──► left ──► condemned ──► dead
        └──► dismissed ────────────────────┘

Each state may be skipped: an instance without an `after_fork` hook is born serving, an idle one that is asked to leave
has left at once, and any may be condemned or die. `Life` in `lives.py` is the same for a template.
"""

from enum import StrEnum
from typing import Final, NamedTuple


class State(StrEnum):
    """The state of an instance."""

    STARTING = "starting"
    """its `after_fork` hook runs, and no call begins before it has"""
    SERVING = "serving"
    LEAVING = "leaving"
    """takes no more calls, and finishes the open ones"""
    DISMISSED = "dismissed"
    """one end of its socket was closed while it started; its first frame may still come"""
    LEFT = "left"
    """one end of its socket is closed: it exits by itself; calls may be open if it closed its own"""
    CONDEMNED = "condemned"
    """SIGKILL was sent, and its frames are ignored; its open calls still run"""
    DEAD = "dead"
    """its death, and that of everything it started, is verified"""


class Input(StrEnum):
    """An event in the life of an instance."""

    READY = "ready"
    UNFIT = "unfit"
    LEAVE = "leave"
    """it was asked to leave"""
    IDLE = "idle"
    """it has no open call"""
    END_OF_FILE = "end of file"
    OVERSTAYED = "overstayed"
    """it has left for longer than the grace"""
    CONDEMN = "condemn"
    DIED = "died"


class Effect(StrEnum):
    """What follows from an input."""

    NONE = "none"
    BEGIN = "begin"
    """report how the hook has ended"""
    SHUT = "shut"
    """close our end of its socket"""
    KILL = "kill"


class Step(NamedTuple):
    """One cell of the table."""

    next: State
    effect: Effect = Effect.NONE


_CONDEMNED = Step(State.CONDEMNED, Effect.KILL)
_DEAD = Step(State.DEAD)

TABLE: Final[dict[State, dict[Input, Step]]] = {
    State.STARTING: {
        Input.READY: Step(State.SERVING, Effect.BEGIN),
        Input.UNFIT: Step(State.LEFT, Effect.BEGIN),  # it exits by itself
        Input.LEAVE: Step(State.DISMISSED, Effect.SHUT),
        Input.IDLE: Step(State.STARTING),
        Input.END_OF_FILE: Step(State.DISMISSED),
        Input.CONDEMN: _CONDEMNED,
        Input.DIED: _DEAD,
    },
    State.SERVING: {
        Input.LEAVE: Step(State.LEAVING),
        Input.IDLE: Step(State.SERVING),
        Input.END_OF_FILE: Step(State.LEFT),  # it can answer no more, and is usually dying
        Input.CONDEMN: _CONDEMNED,
        Input.DIED: _DEAD,
    },
    State.LEAVING: {
        Input.LEAVE: Step(State.LEAVING),
        Input.IDLE: Step(State.LEFT, Effect.SHUT),
        Input.END_OF_FILE: Step(State.LEFT),
        Input.CONDEMN: _CONDEMNED,
        Input.DIED: _DEAD,
    },
    State.DISMISSED: {
        Input.READY: Step(State.LEFT),
        Input.UNFIT: Step(State.LEFT),
        Input.LEAVE: Step(State.DISMISSED),
        Input.IDLE: Step(State.DISMISSED),
        Input.END_OF_FILE: Step(State.DISMISSED),
        Input.OVERSTAYED: _CONDEMNED,
        Input.CONDEMN: _CONDEMNED,
        Input.DIED: _DEAD,
    },
    State.LEFT: {
        Input.LEAVE: Step(State.LEFT),
        Input.IDLE: Step(State.LEFT),
        Input.END_OF_FILE: Step(State.LEFT),
        Input.OVERSTAYED: _CONDEMNED,
        Input.CONDEMN: _CONDEMNED,
        Input.DIED: _DEAD,
    },
    State.CONDEMNED: {
        **{what: Step(State.CONDEMNED) for what in Input if what is not Input.DIED},
        Input.DIED: _DEAD,
    },
    State.DEAD: dict.fromkeys(Input, _DEAD),
}

_BEGUN = frozenset({State.SERVING, State.LEAVING, State.LEFT})

BREACHES: Final[dict[Input, tuple[frozenset[State], str]]] = {
    Input.READY: (_BEGUN, "a `ready` that was not expected"),
    Input.UNFIT: (_BEGUN, "an `unfit` that was not expected"),
}
"""The frames that an instance may not send in these states, and what the breach says."""

IMPOSSIBLE: Final[dict[Input, tuple[frozenset[State], str]]] = {
    Input.OVERSTAYED: (frozenset({State.STARTING, State.SERVING, State.LEAVING}), "the grace begins when it has left"),
}
"""The pairs that cannot occur, and why. `TABLE`, `BREACHES` and this cover every pair."""

OVER: Final = frozenset({State.CONDEMNED, State.DEAD})
GONE: Final = frozenset({State.DISMISSED, State.LEFT})
"""The states in which it has the grace to end by itself."""
