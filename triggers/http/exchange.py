"""One request and its answer, as the record tells of them."""

import time
from collections.abc import Callable

from msgspec import Struct, field

from bus.event import Event
from bus.outcome import Outcome

CLIENT_LEFT = 499
"""Not a status that anybody gets: the client left before its answer, as nginx's log has it."""


class Exchange(Struct, gc=False):
    """Filled in as it goes. Without `event` no function ran; without `outcome` nobody waited for it."""

    client: str
    """its address, empty on a unix socket"""
    id: str = ""
    """the event's, or one of its own"""
    method: str = ""
    """as received; empty if the request could not be parsed"""
    path: str = ""
    """as received, without the query, which may hold what no log should"""
    event: Event | None = None
    outcome: Outcome | None = None
    status: int = 0
    reason: str = ""
    """who or what decided on the status: one of the words of `problems.REASONS`, or the kind of a failure"""
    detail: str = ""
    """what the client was told, if no function ran"""
    began_ns: int = field(default_factory=time.monotonic_ns)
    """CLOCK_MONOTONIC, when the request's headers were complete"""


OnRequest = Callable[[Exchange], None]
"""Called once for each request, before its answer is written or when its client has left.

Runs in the event loop: it must not block.
"""
