"""One request while it is served, as its record will show it."""

from msgspec import Struct

from bus.event import Event
from bus.invocation import HttpVerdict, Invocation
from bus.outcome import Outcome


class Exchange(Struct, gc=False):
    """Filled in as it goes; the fields are those of `HttpVerdict` and `Invocation`."""

    client: str
    began_ns: int
    id: str = ""
    method: str = ""
    path: str = ""
    key: str = ""
    event: Event | None = None
    outcome: Outcome | None = None

    def ended(self, status: int, reason: str, detail: str = "") -> Invocation:
        """The record of the request, once its answer is known."""
        verdict = HttpVerdict(
            self.client, self.id, self.method, self.path, status, reason, detail, self.began_ns, self.key
        )
        return Invocation(self.event, self.outcome, verdict)
