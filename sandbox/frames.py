"""The frames that a guest may send, as exact types, and what it may be asked for.

ARCHITECTURE §8 says when each is legal.
A field out of its bounds, or of another type, is a breach.
"""

from typing import ClassVar, Final, Literal

from msgspec import Struct

from sandbox.bounds import (
    Code,
    Count,
    Credit,
    Headers,
    Kilobytes,
    MediaType,
    Message,
    Modules,
    Seconds,
    Status,
    Text,
    Traceback,
)


class OutputHead(Struct, array_like=True, gc=False):
    """An output without its body, which has `length` bytes. Unused fields at the end are left out of the array."""

    kind: Literal["send", "publish", "spawn"]
    name: Text
    content_type: MediaType
    length: Count
    delay_s: Seconds
    id: Text | None
    headers: dict[Text, str]
    correlation_id: Text | None = None
    reply_to: Text | None = None


class _Numbers(Struct, kw_only=True, gc=False):
    i: Count
    started_ns: Count = 0
    finished_ns: Count = 0
    cpu_ns: Count = 0
    peak_rss_kb: Kilobytes = 0
    log: Count = 0


class OkFrame(_Numbers, tag_field="t", tag="ok", kw_only=True, gc=False):
    """The handler returned. The body has `length` bytes of result, then the bodies of the outputs in order."""

    status: Status = 200
    type: MediaType | None = None
    headers: Headers = ()
    length: Count
    out: tuple[OutputHead, ...] = ()

    @property
    def body_bytes(self) -> int:
        """The length that the body must have."""
        return self.length + (sum(head.length for head in self.out) if self.out else 0)


class FailFrame(_Numbers, tag_field="t", tag="fail", kw_only=True):
    """The handler failed (`error`) or was ended by its deadline (`timeout`)."""

    kind: Literal["error", "timeout"]
    code: Code
    message: Message
    traceback: Traceback = ""
    retry_after_s: Seconds | None = None
    last: bool = False
    """The process ends by itself now, and takes no more calls."""


class HeadFrame(Struct, tag_field="t", tag="head", kw_only=True, gc=False):
    """The response begins; its body follows in chunks."""

    i: Count
    status: Status = 200
    type: MediaType | None = None
    headers: Headers = ()


class ChunkFrame(Struct, tag_field="t", tag="chunk", gc=False):
    """The next bytes of the response, at least one and at most CHUNK_BYTES."""

    i: Count


class EndFrame(_Numbers, tag_field="t", tag="end", kw_only=True, gc=False):
    """The response is complete: an `ok` whose head and result were sent before. The body has those of the outputs."""

    status: ClassVar[int] = 200
    type: ClassVar[None] = None
    headers: ClassVar[tuple[tuple[str, str], ...]] = ()
    length: ClassVar[int] = 0
    out: tuple[OutputHead, ...] = ()

    @property
    def body_bytes(self) -> int:
        """The length that the body must have."""
        return sum(head.length for head in self.out)


class CreditFrame(Struct, tag_field="t", tag="credit", gc=False):
    """The guest takes this many more bytes of the request's body."""

    i: Count
    bytes: Credit


class CallFrame(Struct, tag_field="t", tag="call", kw_only=True, gc=False):
    """The handler calls another function and waits for its reply; the body is that of the event."""

    i: Count
    c: Credit
    """Counts up within the call, from 1."""
    function: Text
    type: MediaType | None = None


class ReadyFrame(Struct, tag_field="t", tag="ready"):
    """The first frame of an instance with an `after_fork` hook, once the hook has run."""


class UnfitFrame(Struct, tag_field="t", tag="unfit", kw_only=True):
    """Sent instead of `ready`: the hook failed, and the instance ends. `code` is a load code."""

    code: Code
    message: Message
    traceback: Traceback = ""


class LearntFrame(Struct, tag_field="t", tag="learnt", kw_only=True):
    """Before the first `ok` of an instance that was asked for it: the modules that it has imported since its fork."""

    modules: Modules


Answer = OkFrame | FailFrame | EndFrame
"""The frames that end a call."""
OfCall = Answer | HeadFrame | ChunkFrame | CreditFrame | CallFrame
OfInstance = ReadyFrame | UnfitFrame | LearntFrame
Frame = OfCall | OfInstance


class Asked(Struct, frozen=True, omit_defaults=True, gc=False):
    """What a call asks for beyond one frame each way; its `invoke` frame says so."""

    more: bool = False
    """The request's body goes on in chunks."""
    credit: int | None = None
    """How many bytes of response chunks the guest may send before it gets more credit; None: no response stream."""
    calls: int = 0
    """How many calls from inside the handler may be open at once."""


NOTHING: Final = Asked()
