"""What `calls.py` decides about the calls of an instance; `instance.py` carries it out."""

from msgspec import Struct

from sandbox.endings import Ending
from sandbox.frames import LearntFrame, OfCall, UnfitFrame


class End(Struct, frozen=True, gc=False):
    """Action: deliver the end of call `i`. `traceback` is the guest's, if it sent one where the ending is a verdict."""

    i: int
    ending: Ending
    traceback: str = ""


class HandOver(Struct, frozen=True, gc=False):
    """Action: hand a frame that ends nothing to whoever began the call and asked for such frames."""

    frame: OfCall
    body: bytes


class Ready(Struct, frozen=True):
    """Action: the `after_fork` hook has run and calls may begin; with `unfit` it failed and none ever will."""

    unfit: UnfitFrame | None = None


class Learn(Struct, frozen=True):
    """Action: tell the tree which modules the instance has imported since its fork."""

    frame: LearntFrame


class Cancel(Struct, frozen=True):
    """Action: interrupt these overdue calls: request a stack, send a `cancel` each, and SIGTERM for a sync handler."""

    calls: tuple[int, ...]


class Kill(Struct, frozen=True):
    """Action: SIGKILL the instance; its burial kills everything it started."""

    reason: str


class Leave(Struct, frozen=True):
    """Action: shut the socket down for writing; the guest runs its `stop` hook and exits."""


Action = Ready | Learn | End | HandOver | Cancel | Kill | Leave
