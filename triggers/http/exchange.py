"""One request while it is served: what has been found out so far, and its record."""

from msgspec import Struct

from bus.event import Event
from bus.invocation import HttpVerdict, Invocation
from bus.outcome import Outcome
from triggers.http.answers import Answer
from triggers.http.head import Head
from triggers.http.policy.keys import Holder
from triggers.http.routes import Allowed, Match, StaticMatch
from triggers.http.settings import Cors

_NO_HEAD = Head("", "", "", "", {})


class Exchange(Struct, gc=False):
    """Filled in as it goes. Most fields are those of `HttpVerdict` and `Invocation`."""

    client: str
    began_ns: int
    id: str = ""
    method: str = ""
    path: str = ""
    scheme: str = "http"
    head: Head = _NO_HEAD
    holder: Holder | None = None
    found: Match | StaticMatch | Allowed | None = None
    cors: Cors | None = None
    """for its answer, whatever that is"""
    event: Event | None = None
    outcome: Outcome | None = None
    answer: Answer | None = None
    """if it is known before anything had to wait"""

    def ended(self, status: int, reason: str, detail: str = "") -> Invocation:
        """The record of the request, once its answer is known."""
        key = "" if self.holder is None else self.holder.name
        verdict = HttpVerdict(self.client, self.id, self.method, self.path, status, reason, detail, self.began_ns, key)
        return Invocation(self.event, self.outcome, verdict)
