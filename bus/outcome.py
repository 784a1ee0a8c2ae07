"""An outcome: how one invocation ended, as data. Each trigger turns it into a status, a settlement or a record."""

from asyncio import Future
from typing import Literal, NewType

from msgspec import Struct

StartKind = Literal["warm", "fork", "load", "boot"]
"""What the event waited for: a ready instance, a fork, a template, a whole zygote. All but `warm` are cold starts."""

FailureKind = Literal["error", "timeout", "crash", "load", "protocol", "store", "throttled", "unknown_function"]

LoadCode = Literal[
    "HandlerNotFound",
    "ImportModuleError",
    "SyntaxError",
    "BuiltInModuleConflict",
    "InitFailed",
    "InitTimeout",
    "PullFailed",
    "CrashLoop",
]
Code = (
    Literal["Undecodable", "BodyTooLarge", "Rejected", "Retry", "Unencodable", "ResultTooLarge", "Unroutable"]
    | Literal["Timeout", "Signal", "Exit", "MemoryExceeded", "InstanceKilled", "Breach", "NotStored", "UnknownFunction"]
    | Literal["QueueFull", "WaitExpired", "Draining", "MachineMemory"]
    | LoadCode
)
"""Every code of ours; ARCHITECTURE.md §5 says what each means."""
ExceptionName = NewType("ExceptionName", str)
"""The type of an exception that a handler, or a mistake of ours, raised. A guest sends one, or a code of ours."""


class Timings(Struct, frozen=True, gc=False):
    """CLOCK_MONOTONIC nanoseconds. `started` and `finished` are the guest's, clamped between written and received."""

    accepted_ns: int = 0
    assigned_ns: int = 0
    started_ns: int = 0
    finished_ns: int = 0


class Waits(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """For how long the processes of a function waited while a slow call ran, in ms; 0 also where nothing is known."""

    throttled_ms: float = 0.0
    """for their next share of the processors, because `cpu` was used up"""
    memory_ms: float = 0.0
    disk_ms: float = 0.0
    processor_ms: float = 0.0
    """for one that others had"""


class Output(Struct, frozen=True):
    """What a handler sent (`send`), published (`publish`) or spawned (`spawn`); stored only if the invocation is ok."""

    kind: Literal["send", "publish", "spawn"]
    name: str
    content_type: str
    body: bytes
    delay_s: float = 0.0
    id: str | None = None
    headers: dict[str, str] = {}
    correlation_id: str | None = None
    reply_to: str | None = None


class _Run(Struct, frozen=True, kw_only=True, gc=False):
    """The run itself, whether it succeeded or not. Zero or empty if no instance took part."""

    timings: Timings = Timings()
    start: StartKind | None = None
    spare: bool = False
    """Whether it took an instance that had been started ahead and had run no event; `start` is `warm` then."""
    instance: str = ""
    version: str = ""
    release: int = 0
    """The number of the release that ran it; 0 if the function was not deployed."""
    attempt: int = 1
    cpu_ns: int = 0
    peak_rss_kb: int = 0
    waits: Waits | None = None


class Ok(_Run, frozen=True, kw_only=True, gc=False):
    """The handler returned. It may choose `status` and `headers`; the default is 200, or 204 if it returned None."""

    body: bytes = b""
    content_type: str | None = None
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    outputs: tuple[Output, ...] = ()


class Failed(_Run, frozen=True, kw_only=True):
    """The handler did not return. `code` is stable; `retry_after_s` is set if it is known when a retry may succeed."""

    kind: FailureKind
    code: Code | ExceptionName
    message: str
    traceback: str = ""
    retry_after_s: float | None = None


Outcome = Ok | Failed


def deliver(waiter: "Future[Outcome]", outcome: Outcome) -> None:
    """Give an outcome to whoever awaits it, if anybody still does."""
    if not waiter.done():
        waiter.set_result(outcome)


def phases_ns(outcome: Outcome) -> tuple[int, int, int]:
    """Return the nanoseconds that an event spent waiting in line, waiting for a start, and running.

    An event that took a ready instance, or reached none, only waited in line; any other waited for the start of an
    instance.
    """
    timings = outcome.timings
    assigned_ns = timings.assigned_ns if outcome.start in ("warm", None) else timings.accepted_ns
    return assigned_ns - timings.accepted_ns, timings.started_ns - assigned_ns, timings.finished_ns - timings.started_ns
