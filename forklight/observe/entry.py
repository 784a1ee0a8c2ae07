"""An entry of the journal: a line written by a function, or the line of an invocation or a request. Pure."""

import sys
from typing import Any

from msgspec import Raw, Struct, json

from bus.outcome import Waits
from sandbox.guest._forklight.wire import LEVELS
from sandbox.log_lines import NO_EXTRA


class Entry(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One line. `invocation` is the event's id. The line of an invocation has `outcome` and the fields after it.

    The line of a request has `method` and the fields after it. If no function ran, `function` is empty, `outcome` is
    `answered` or `left`, `reason` is one word, and `text` is the explanation sent to the client.
    """

    time: float
    """seconds since the epoch"""
    function: str
    started: bool = False
    """Not a line: the server was started then, and what comes before is of an earlier one."""
    text: str = ""
    level: str = ""
    """`debug` to `critical` for a line of `logging`; empty for printed lines and for invocations"""
    instance: str = ""
    invocation: str = ""
    trace_id: str = ""
    """32 digits, shared by everything that one request, message or timer led to (W3C Trace Context)"""
    outcome: str = ""
    """`ok`, or kind/code of the failure; empty for a line written by a function"""
    trigger: str = ""
    queue: str = ""
    """the message's queue, with the name of its broker unless that is the bus's own: `orders@shop`"""
    attempt: int = 0
    messages: int = 0
    """size of the batch; 0 for a single message"""
    decision: str = ""
    """`ack`, `retry in 2.1 s`, `released`, or `dead: Attempts`; for a batch `7 ack, 1 dead`"""
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
    key: str = ""
    """the name of the key that it brought"""
    ms: float = 0.0
    """from the end of the request's headers to its answer"""
    reason: str = ""
    start: str = ""
    spare: bool = False
    """whether the instance had been started ahead and had run nothing; `start` is `warm` then"""
    queue_ms: float = 0.0
    start_ms: float = 0.0
    run_ms: float = 0.0
    cpu_ms: float = 0.0
    """processor time of the run; the rest of `run_ms` it waited"""
    waits: Waits | None = None
    """for how long its function waited for what it could not have meanwhile; of slow runs only, where that is known"""
    version: str = ""
    release: int = 0
    """the number of the release that ran it, which users call its version; 0 if its function was not deployed"""
    traceback: str = ""
    extra: Raw = NO_EXTRA
    """JSON: the `extra` of a record of `logging`"""

    @property
    def fields(self) -> dict[str, Any]:
        """`extra`, decoded."""
        fields: dict[str, Any] = json.decode(self.extra)
        return fields


Noted = tuple[int, Entry, int]
"""An entry as the journal holds it: its number, which counts from 1, the entry, and the bytes of memory it takes."""

ENTRY_BYTES = 568
"""Memory of a noted entry without its texts, measured with CPython 3.11 on 64 bits."""

NOT_RUN = "unrun"
"""The outcome of a message that was settled without a run."""
LEFT = "left"
"""The outcome of a request whose client left."""
ANSWERED = "answered"
"""The outcome of a request that the server answered itself."""
NOT_FAILED = ("", "ok", LEFT, NOT_RUN, ANSWERED)


class Selection(Struct, frozen=True, kw_only=True):
    """Which entries to show."""

    function: str | None = None
    invocation: str = ""
    """an id or its end, as the log shows it"""
    level: str = ""
    """the lowest level to show; an entry without a level counts as `info`"""
    since_s: float = 0.0
    """seconds since the epoch"""
    release: int = 0
    """the number of a release; 0 for all"""

    def has(self, entry: Entry) -> bool:
        """Whether it includes the entry."""
        return (
            self.function in (None, entry.function)
            and entry.invocation.endswith(self.invocation)
            and entry.time >= self.since_s
            and self.release in (0, entry.release)
            and (not self.level or LEVELS.index(level_of(entry)) >= LEVELS.index(self.level))
        )


def size_bytes(entry: Entry) -> int:
    """Return the memory of an entry. Of its texts, those that a function or a client writes are counted."""
    of = sys.getsizeof
    size = ENTRY_BYTES + of(entry.path) + of(entry.invocation)
    if entry.text or entry.traceback:
        size += of(entry.text) + of(entry.traceback)
    if entry.queue:
        size += of(entry.queue) + of(entry.sent_at)
    return size + len(bytes(entry.extra)) if entry.extra is not NO_EXTRA else size


def has_failed(entry: Entry) -> bool:
    """Whether the invocation failed, the message became a dead letter, or the server answered with a 5xx."""
    broken = entry.outcome == ANSWERED and entry.status >= 500
    return entry.outcome not in NOT_FAILED or "dead" in entry.decision or broken


def level_of(entry: Entry) -> str:
    """Return its level: one of LEVELS."""
    return "error" if has_failed(entry) else entry.level or "info"
