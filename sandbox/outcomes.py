"""Turns the end of a call into the `Outcome` that its trigger gets."""

import os

from msgspec import Struct

from bus import Failed, Ok, Outcome, Timings
from bus.outcome import ExceptionName, StartKind
from sandbox import wire
from sandbox.endings import Answered, Verdict
from sandbox.frames import FailFrame

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


def of(answer: Answered | Verdict, stack: str, run: Run, now_ns: int) -> Outcome:
    """The outcome of a call that ends at `now_ns`. The guest's times are clamped to those that the server measured."""
    if isinstance(answer, Verdict):
        return _unanswered(answer, stack, run, now_ns)
    frame = answer.frame
    started_ns = min(max(frame.started_ns, run.written_ns), now_ns)
    finished_ns = min(max(frame.finished_ns, started_ns), now_ns)
    timings = Timings(run.accepted_ns, run.written_ns, started_ns, finished_ns)
    cpu_ns = min(frame.cpu_ns, (now_ns - run.written_ns) * _PROCESSORS)
    if not isinstance(frame, FailFrame):
        return Ok(
            body=answer.body if not frame.out else answer.body[: frame.length],
            content_type=frame.type,
            status=frame.status,
            headers=frame.headers,
            outputs=wire.outputs(frame, answer.body) if frame.out else (),
            timings=timings,
            start=run.start,
            spare=run.spare,
            instance=run.instance,
            version=run.version,
            attempt=run.attempt,
            cpu_ns=cpu_ns,
            peak_rss_kb=frame.peak_rss_kb,
        )
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
        attempt=run.attempt,
        cpu_ns=cpu_ns,
        peak_rss_kb=frame.peak_rss_kb,
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
        attempt=run.attempt,
    )
