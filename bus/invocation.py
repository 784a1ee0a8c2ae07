"""The record of an invocation: every trigger reports one, and journal, metrics and `why` are made of it.

A trigger reports once to the bus (`Bus.report`), when it is done with an event or a request; every subscriber of the
bus gets the same record. The times of the run are in the outcome, the time of an HTTP request is in its verdict.
"""

from typing import Protocol

from msgspec import Struct

from bus.event import Event
from bus.outcome import Outcome
from bus.retry import Decision

CLIENT_LEFT = 499
"""Never sent: the client left before its answer. nginx logs the same number."""


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
    """CLIENT_LEFT if the client did not wait for it"""
    reason: str
    """why it is this status: a word of the http trigger, or the kind of a failure"""
    detail: str
    """the explanation sent to the client, if no function ran"""
    began_ns: int
    """CLOCK_MONOTONIC, when the request's headers were complete"""
    key: str = ""
    """the name of the key that the request brought, on a route that requires one"""


class QueueVerdict(Struct, frozen=True, gc=False):
    """One decision for each message of the event; empty if the messages of a batch run again one by one."""

    decisions: tuple[Decision, ...]


class Invocation(Struct, frozen=True, gc=False):
    """An event and what became of it.

    `event` is None for an HTTP request that ran no function. `outcome` is None if the client left, a drain could not
    wait, or the message was settled without a run. Timers and direct calls have no verdict beyond their outcome.
    """

    event: Event | None
    outcome: Outcome | None
    verdict: HttpVerdict | QueueVerdict | None = None


class Reporter(Protocol):
    """A subscriber: a function, or a method such as `Journal.report`."""

    def __call__(self, invocation: Invocation, /) -> None:
        """Called in the event loop, so it must not block."""
