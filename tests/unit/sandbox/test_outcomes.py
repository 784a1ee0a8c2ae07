"""The outcome of a call has what the server knows of it, and the guest's figures only as far as they can be true."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus import Failed, Ok, Output
from sandbox import outcomes
from sandbox.endings import Answered, Verdict
from sandbox.frames import FailFrame, OkFrame, OutputHead
from sandbox.outcomes import Run

RUN = Run(accepted_ns=100, written_ns=200, start="fork", instance="shop-1", version="v1", attempt=3)
TIMES = st.integers(0, 2**63 - 1)


def test_a_result_and_its_outputs() -> None:
    frame = OkFrame(
        i=1,
        status=201,
        type="text/plain",
        headers=(("x", "y"),),
        length=2,
        out=(OutputHead("send", "orders", "text/plain", 3, 1.5, "id", {"a": "b"}, "c", "r"),),
        started_ns=210,
        finished_ns=290,
        cpu_ns=7,
        peak_rss_kb=8,
    )
    outcome = outcomes.of(Answered(frame, b"okabc"), "", RUN, 300)
    assert isinstance(outcome, Ok)
    assert (outcome.body, outcome.status, outcome.content_type) == (b"ok", 201, "text/plain")
    assert outcome.headers == (("x", "y"),)
    assert outcome.outputs == (Output("send", "orders", "text/plain", b"abc", 1.5, "id", {"a": "b"}, "c", "r"),)
    assert (outcome.timings.accepted_ns, outcome.timings.assigned_ns) == (100, 200)
    assert (outcome.timings.started_ns, outcome.timings.finished_ns) == (210, 290)
    assert (outcome.start, outcome.instance, outcome.version, outcome.attempt) == ("fork", "shop-1", "v1", 3)
    assert (outcome.cpu_ns, outcome.peak_rss_kb) == (7, 8)


def test_a_failure_of_the_guest_s() -> None:
    frame = FailFrame(i=1, kind="error", code="Rejected", message="no", traceback="line 1", retry_after_s=2.0, cpu_ns=7)
    outcome = outcomes.of(Answered(frame, b""), "", RUN, 300)
    assert isinstance(outcome, Failed)
    assert (outcome.kind, outcome.code, outcome.message) == ("error", "Rejected", "no")
    assert (outcome.traceback, outcome.retry_after_s, outcome.cpu_ns) == ("line 1", 2.0, 7)
    assert (outcome.start, outcome.instance, outcome.version, outcome.attempt) == ("fork", "shop-1", "v1", 3)


def test_a_verdict_of_ours_carries_the_stack() -> None:
    outcome = outcomes.of(Verdict("timeout", "Timeout", "too late"), "Thread 0x1:", RUN, 300)
    assert isinstance(outcome, Failed)
    assert (outcome.kind, outcome.code, outcome.message) == ("timeout", "Timeout", "too late")
    assert outcome.traceback == "Thread 0x1:"
    assert (outcome.timings.started_ns, outcome.timings.finished_ns) == (200, 300)
    assert (outcome.start, outcome.instance, outcome.version, outcome.attempt) == ("fork", "shop-1", "v1", 3)


@pytest.mark.invariant("I4")
@given(TIMES, TIMES, st.booleans())
def test_the_guest_s_times_lie_between_written_and_received(started_ns: int, finished_ns: int, ok: bool) -> None:
    frame = (
        OkFrame(i=1, length=0, started_ns=started_ns, finished_ns=finished_ns)
        if ok
        else FailFrame(i=1, kind="error", code="E", message="", started_ns=started_ns, finished_ns=finished_ns)
    )
    timings = outcomes.of(Answered(frame, b""), "", RUN, 300).timings
    assert 200 <= timings.started_ns <= timings.finished_ns <= 300
    if 200 <= started_ns <= finished_ns <= 300:
        assert (timings.started_ns, timings.finished_ns) == (started_ns, finished_ns)
