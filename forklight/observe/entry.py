"""An entry of the journal: a line that a function wrote, or how an invocation went. Pure."""

import sys
from typing import Any

from msgspec import Raw, Struct, json

from sandbox.guest._forklight.wire import LEVELS
from sandbox.log_lines import NO_EXTRA


class Entry(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One line. `invocation` is the event's id. An invocation's own line has `outcome` and the fields after it.

    A request's line has `method` and what follows it; if no function ran, `function` is empty, `outcome` is `answered`
    or `left`, `reason` says why in one word, and `text` what the client was told.
    """

    time: float
    """seconds since the epoch"""
    function: str
    text: str = ""
    level: str = ""
    """`debug` to `critical` of a line that came by `logging`; empty for what was printed, and for invocations"""
    instance: str = ""
    invocation: str = ""
    trace_id: str = ""
    """32 digits that all share which one request, message or timer led to (W3C Trace Context)"""
    outcome: str = ""
    """`ok`, or kind/code of the failure; empty for a line that a function wrote"""
    trigger: str = ""
    queue: str = ""
    """where the message came from, with its broker's name if that is not the bus's own: `orders@shop`"""
    attempt: int = 0
    messages: int = 0
    """how many were one event; 0 for one message that is no batch"""
    decision: str = ""
    """what became of the message: `ack`, `retry in 2.1 s`, `released`, `dead: Attempts`; of a batch: `7 ack, 1 dead`"""
    sent_at: str = ""
    """when the message was stored or sent, RFC 3339"""
    timer: str = ""
    scheduled_at: str = ""
    status: int = 0
    method: str = ""
    path: str = ""
    """as received, without the query"""
    client: str = ""
    """its address, or `unix`"""
    ms: float = 0.0
    """from the end of the request's headers to its answer"""
    reason: str = ""
    start: str = ""
    queue_ms: float = 0.0
    start_ms: float = 0.0
    run_ms: float = 0.0
    cpu_ms: float = 0.0
    """of the run: what it did not compute, it waited"""
    version: str = ""
    traceback: str = ""
    extra: Raw = NO_EXTRA
    """JSON: what a record of `logging` was given as `extra`."""

    @property
    def fields(self) -> dict[str, Any]:
        """The same, decoded."""
        fields: dict[str, Any] = json.decode(self.extra)
        return fields


ENTRY_BYTES = 400
"""What an entry costs beside its texts, as measured (CPython 3.11, 64 bits)."""

NOT_RUN = "unrun"
"""The outcome of a message that was settled without being run."""
LEFT = "left"
"""The outcome of a request whose client did not wait for it."""
ANSWERED = "answered"
"""The outcome of a request that the server answered itself."""
NOT_FAILED = ("", "ok", LEFT, NOT_RUN, ANSWERED)


class Selection(Struct, frozen=True, kw_only=True):
    """Which entries somebody wants to see."""

    function: str | None = None
    invocation: str = ""
    """its id, or the end of it, as the log shows it"""
    level: str = ""
    """the least; what has none of its own is `info`"""

    def has(self, entry: Entry) -> bool:
        """Whether it is one of them."""
        return (
            self.function in (None, entry.function)
            and entry.invocation.endswith(self.invocation)
            and (not self.level or LEVELS.index(level_of(entry)) >= LEVELS.index(self.level))
        )


def size_bytes(entry: Entry) -> int:
    """What it takes of memory; of the texts, those that a function or a client writes."""
    of = sys.getsizeof
    size = ENTRY_BYTES + of(entry.text) + of(entry.path) + of(entry.invocation) + of(entry.traceback)
    if entry.queue:
        size += of(entry.queue) + of(entry.sent_at)
    return size + len(bytes(entry.extra)) if entry.extra is not NO_EXTRA else size


def has_failed(entry: Entry) -> bool:
    """Whether it says that an invocation failed, that a message was given up, or that the server let a client down."""
    broken = entry.outcome == ANSWERED and entry.status >= 500
    return entry.outcome not in NOT_FAILED or "dead" in entry.decision or broken


def level_of(entry: Entry) -> str:
    """One of LEVELS."""
    return "error" if has_failed(entry) else entry.level or "info"
