"""An outcome: how one invocation ended, as data. Every trigger maps it to its own world (status, ack, log line)."""

from typing import Literal, NewType

from msgspec import Struct

StartKind = Literal["warm", "fork", "load", "boot"]
"""What the event had to wait for: a ready instance, a fork, a template, a whole zygote. Cold is anything but warm."""

FailureKind = Literal["error", "timeout", "crash", "load", "protocol", "store", "throttled", "unknown_function"]

LoadCode = Literal[
    "HandlerNotFound",
    "ImportModuleError",
    "SyntaxError",
    "BuiltInModuleConflict",
    "InitFailed",
    "InitTimeout",
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
    """What both ends of an outcome say about the run itself; zero or empty where no instance took part."""

    timings: Timings = Timings()
    start: StartKind | None = None
    instance: str = ""
    version: str = ""
    attempt: int = 1
    cpu_ns: int = 0
    peak_rss_kb: int = 0


class Ok(_Run, frozen=True, kw_only=True, gc=False):
    """The handler returned. `status` and `headers` are its own wishes: 204 for None, 200 if it said nothing."""

    body: bytes = b""
    content_type: str | None = None
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    outputs: tuple[Output, ...] = ()


class Failed(_Run, frozen=True, kw_only=True):
    """The handler did not return. `code` is a stable string; `retry_after_s` is set when the handler or we did."""

    kind: FailureKind
    code: Code | ExceptionName
    message: str
    traceback: str = ""
    retry_after_s: float | None = None


Outcome = Ok | Failed


def phases_ns(outcome: Outcome) -> tuple[int, int, int]:
    """Where an event's time went, in nanoseconds: waiting in line, starting, running.

    An event that took a ready instance only waited in line; one that had to have an instance made waited for that.
    """
    timings = outcome.timings
    assigned_ns = timings.assigned_ns if outcome.start == "warm" else timings.accepted_ns
    return assigned_ns - timings.accepted_ns, timings.started_ns - assigned_ns, timings.finished_ns - timings.started_ns
