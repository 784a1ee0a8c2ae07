"""Turns the end of a call into the `Outcome` that its trigger gets."""

import os

from msgspec import Struct

from bus import Failed, Ok, Outcome, Timings
from bus.outcome import ExceptionName, StartKind, Waits
from sandbox import wire
from sandbox.endings import Answered, Verdict
from sandbox.frames import Answer, EndFrame, FailFrame, OkFrame
from sandbox.strain import SLOW_NS, Count

_PROCESSORS = os.cpu_count() or 1


class Run(Struct, frozen=True, gc=False):
    """The facts about a call that are known when its event is written. Times are CLOCK_MONOTONIC nanoseconds."""

    accepted_ns: int
    written_ns: int
    start: StartKind
    instance: str
    version: str
    attempt: int
    spare: bool = False
    before: Count | None = None
    """How long the processes of the function had waited before."""
    release: int = 0


def of(answer: Answered | Verdict, stack: str, run: Run, now_ns: int) -> Outcome:
    """The outcome of a call that ends at `now_ns`. The guest's times are clamped to those that the server measured."""
    if isinstance(answer, Verdict):
        return _unanswered(answer, stack, run, now_ns)
    frame = answer.frame
    if not isinstance(frame, FailFrame):
        return succeeded(frame, answer.body, run, now_ns)
    timings, cpu_ns = _measured(frame, run, now_ns)
    return Failed(
        kind=frame.kind,
        code=ExceptionName(frame.code),
        message=frame.message,
        traceback=frame.traceback,
        retry_after_s=frame.retry_after_s,
        timings=timings,
        start=run.start,
        spare=run.spare,
        instance=run.instance,
        version=run.version,
        release=run.release,
        attempt=run.attempt,
        cpu_ns=cpu_ns,
        peak_rss_kb=frame.peak_rss_kb,
        waits=None if now_ns - run.written_ns < SLOW_NS else _waits(run, now_ns),
    )


def _unanswered(verdict: Verdict, stack: str, run: Run, now_ns: int) -> Outcome:
    """The outcome of a call that the guest did not end."""
    return Failed(
        kind=verdict.kind,
        code=verdict.code,
        message=verdict.message,
        traceback=stack,
        timings=Timings(run.accepted_ns, run.written_ns, run.written_ns, now_ns),
        start=run.start,
        spare=run.spare,
        instance=run.instance,
        version=run.version,
        release=run.release,
        attempt=run.attempt,
        waits=_waits(run, now_ns),
    )


def succeeded(frame: OkFrame | EndFrame, body: bytes, run: Run, now_ns: int) -> Ok:
    """The outcome of a call that returned; `body` is that of the frame."""
    timings, cpu_ns = _measured(frame, run, now_ns)
    return Ok(
        body=body if not frame.out else body[: frame.length],
        content_type=frame.type,
        status=frame.status,
        headers=frame.headers,
        outputs=wire.outputs(frame, body) if frame.out else (),
        timings=timings,
        start=run.start,
        spare=run.spare,
        instance=run.instance,
        version=run.version,
        release=run.release,
        attempt=run.attempt,
        cpu_ns=cpu_ns,
        peak_rss_kb=frame.peak_rss_kb,
        waits=None if now_ns - run.written_ns < SLOW_NS else _waits(run, now_ns),
    )


def _waits(run: Run, now_ns: int) -> Waits | None:
    """What the function waited for meanwhile. Reads a few files of the kernel, so it is for slow calls."""
    return None if run.before is None else run.before.waits(run.written_ns, now_ns)


def _measured(frame: Answer, run: Run, now_ns: int) -> tuple[Timings, int]:
    """The times and the CPU time, as far as they can be true."""
    written_ns, started_ns, finished_ns, cpu_ns = run.written_ns, frame.started_ns, frame.finished_ns, frame.cpu_ns
    if not written_ns <= started_ns <= finished_ns <= now_ns:
        started_ns = min(max(started_ns, written_ns), now_ns)
        finished_ns = min(max(finished_ns, started_ns), now_ns)
    most_ns = (now_ns - written_ns) * _PROCESSORS
    return Timings(run.accepted_ns, written_ns, started_ns, finished_ns), most_ns if cpu_ns > most_ns else cpu_ns
