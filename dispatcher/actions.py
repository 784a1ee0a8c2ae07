"""What a pool decides, and its numbers: frozen values."""

from typing import Generic, Literal, TypeVar

from msgspec import Struct

from dispatcher.line import Ticket

Member = TypeVar("Member")


class Assign(Struct, Generic[Ticket, Member], frozen=True):
    """Action: this event runs on this instance."""

    ticket: Ticket
    member: Member


class Refuse(Struct, Generic[Ticket], frozen=True):
    """Action: this event is throttled."""

    ticket: Ticket
    code: Literal["QueueFull", "WaitExpired"]


class Fail(Struct, Generic[Ticket], frozen=True):
    """Action: this event fails with the error of the failed start."""

    ticket: Ticket


class Start(Struct, frozen=True):
    """Action: start one more instance and report the result with `started` or `start_failed`."""

    ahead: bool = False
    """Whether nothing waits for it now: it may take the time to warm up before it is ready."""
    spare: bool = False
    """Whether the pool can do without it, so that it takes no room from others: neither an event waits for it, nor is
    one announced, nor is an instance reserved."""


class Leave(Struct, Generic[Member], frozen=True):
    """Action: end this instance and report its death with `died`."""

    member: Member


class Rest(Struct, frozen=True):
    """Action: end the template too, because the function has been unused for `template_keep_alive`."""


Action = Assign[Ticket, Member] | Refuse[Ticket] | Fail[Ticket] | Leave[Member] | Start | Rest


class Statistics(Struct, frozen=True, gc=False):
    """How many instances are in each state, how many calls the busy ones run, and how many events wait.

    `idle` instances have run an event; `spare` ones are ready and have not.
    """

    starting: int
    idle: int
    busy: int
    leaving: int
    waiting: int
    calls: int
    spare: int = 0
