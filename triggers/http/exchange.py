"""One request while it is served: what has been found out so far, and its record."""

from msgspec import Struct
from msgspec.structs import replace

from bus.event import Event, fixed_part
from bus.invocation import HttpVerdict, Invocation
from bus.outcome import Outcome
from triggers.http.answers import Answer
from triggers.http.head import Head
from triggers.http.policy.keys import Holder
from triggers.http.routes import Allowed, Match, RouteTable, StaticMatch
from triggers.http.settings import Cors
from triggers.http.socket.request import Request


class Known(Struct, frozen=True, gc=False):
    """What follows from the head of a request, for those of its connection that repeat it."""

    routes: RouteTable
    """in which `found` was found"""
    found: Match
    event: Event
    """without its own id, time and body"""
    client: str
    method: str
    path: str
    scheme: str
    head: Head


_NO_HEAD = Head("", "", "", "", {})


class Exchange(Struct, gc=False):
    """Filled in as it goes. Most fields are those of `HttpVerdict` and `Invocation`."""

    client: str
    began_ns: int
    request: Request | None = None
    id: str = ""
    method: str = ""
    path: str = ""
    scheme: str = "http"
    head: Head = _NO_HEAD
    holder: Holder | None = None
    routes: RouteTable | None = None
    """in which `found` was found"""
    found: Match | StaticMatch | Allowed | None = None
    cors: Cors | None = None
    """for its answer, whatever that is"""
    event: Event | None = None
    version: str = ""
    """the version of the function that is to run it, if the request asked for one"""
    outcome: Outcome | None = None
    answer: Answer | None = None
    """if it is known before anything had to wait"""

    def recall(self, known: Known) -> None:
        """Fill in what follows from the head."""
        self.routes, self.found, self.client = known.routes, known.found, known.client
        self.method, self.path, self.scheme, self.head = known.method, known.path, known.scheme, known.head

    def known(self) -> Known | None:
        """What `recall` may fill in next time; None if more than the head decides then: a key, or the id of its own."""
        is_alone = not (self.holder or self.cors or self.version or "ce-specversion" in self.head.headers)
        if not is_alone or self.event is None or self.routes is None or not isinstance(self.found, Match):
            return None
        try:
            event = replace(self.event, id="", time="", body=b"", fixed=fixed_part(self.event))
        except (TypeError, ValueError):  # its call fails for the same reason
            return None
        return Known(self.routes, self.found, event, self.client, self.method, self.path, self.scheme, self.head)

    def ended(self, status: int, reason: str, detail: str = "") -> Invocation:
        """The record of the request, once its answer is known."""
        key = "" if self.holder is None else self.holder.name
        verdict = HttpVerdict(self.client, self.id, self.method, self.path, status, reason, detail, self.began_ns, key)
        return Invocation(self.event, self.outcome, verdict)
