"""One record of what happened: what every trigger reports, and what journal, metrics and `why` are made of.

A trigger reports to the bus (`Bus.report`), once, when it is done with an event or a request; whoever subscribed to the
bus gets the same record. Times are in the outcome, and an HTTP request has its own in the verdict.
"""

from typing import Protocol

from msgspec import Struct

from bus.event import Event
from bus.outcome import Outcome
from bus.retry import Decision

CLIENT_LEFT = 499
"""Not a status that anybody gets: the client left before its answer, as nginx's log has it."""


class HttpVerdict(Struct, frozen=True, gc=False):
    """The answer to a request."""

    client: str
    """the client's address, empty on a unix socket"""
    id: str
    """the event's id; without an event, one of the request's own"""
    method: str
    """as received; empty if the request could not be parsed"""
    path: str
    """as received, without the query, which may hold what no log should"""
    status: int
    """CLIENT_LEFT if nobody waited for it"""
    reason: str
    """who or what decided on the status: a word of the http trigger, or the kind of a failure"""
    detail: str
    """what the client was told, if no function ran"""
    began_ns: int
    """CLOCK_MONOTONIC, when the request's headers were complete"""


class QueueVerdict(Struct, frozen=True, gc=False):
    """One decision for each message of the event; none if the messages of a batch are run again one by one."""

    decisions: tuple[Decision, ...]


class Invocation(Struct, frozen=True, gc=False):
    """An event and what became of it.

    `event` is None for an HTTP request that no function was run for. `outcome` is None if there is none: the client
    left, a drain could not wait for it, or the message was settled without being run. Timers and direct calls have no
    verdict: nothing is decided about them beyond their outcome.
    """

    event: Event | None
    outcome: Outcome | None
    verdict: HttpVerdict | QueueVerdict | None = None


class Reporter(Protocol):
    """Takes the record of what happened: a function, or a method of whatever remembers it."""

    def __call__(self, invocation: Invocation, /) -> None:
        """Called in the event loop, so it must not block."""
