"""The ways in which a call ends: the guest's answer, or a failure that the server itself detected."""

import signal
from typing import Final, Literal

from msgspec import Struct

from bus.outcome import Code
from sandbox.frames import Answer


class Died(Struct, frozen=True):
    """How a process ended: its exit code, or minus the signal, or None if unknown."""

    code: int | None
    out_of_memory: str = ""
    """What the kernel killed it for, if that was memory."""


class Verdict(Struct, frozen=True):
    """A failure that the server detected itself, as opposed to one that the guest reported."""

    kind: Literal["timeout", "crash", "protocol"]
    code: Code
    message: str


class Answered(Struct, frozen=True, gc=False):
    """The guest's answer."""

    frame: Answer
    body: bytes


Ending = Answered | Verdict

TIMED_OUT: Final = Verdict("timeout", "Timeout", "the handler did not finish by its deadline")


def broken(how: str) -> Verdict:
    """The verdict on an instance that broke the protocol."""
    return Verdict("protocol", "Breach", f"the instance sent {how}")


def memory_exceeded(message: str) -> Verdict:
    """The verdict on an instance that had more memory than it may have, or could get none."""
    return Verdict("crash", "MemoryExceeded", message)


def ran_out(memory_bytes: int | None, peak_rss_kb: int) -> Verdict:
    """The verdict on a handler that got a MemoryError. `peak_rss_kb`: with what it shares with its template."""
    limit = f"it may have {memory_bytes >> 20} MiB (memory), " if memory_bytes is not None else ""
    return memory_exceeded(f"the handler ran out of memory: {limit}its process had {peak_rss_kb >> 10} MiB at its peak")


def crash(how: Died) -> Verdict:
    """The verdict on a call whose process died."""
    if how.out_of_memory:
        return memory_exceeded(how.out_of_memory)
    if how.code is None:
        return Verdict("crash", "Exit", "the instance is gone; how it ended is unknown")
    if how.code >= 0:
        return Verdict("crash", "Exit", f"the handler ended its process with {ending(how.code)}")
    return Verdict("crash", "Signal", f"the instance was ended by {ending(how.code)}")


def ending(code: int) -> str:
    """`exit code 3` or `SIGSEGV`, from the code of `Died` or of an `exited` message."""
    if code >= 0:
        return f"exit code {code}"
    return signal.Signals(-code).name if -code in signal.Signals._value2member_map_ else f"signal {-code}"
