"""Traces: an event that is part of none begins one."""

from hypothesis import given
from hypothesis import strategies as st

from bus.event import begin_trace, is_traceparent, trace_id


@given(st.text())
def test_every_event_can_begin_a_trace_of_its_own_the_same_each_time(event_id: str) -> None:
    begun = begin_trace(event_id)
    assert is_traceparent(begun)
    assert begun == begin_trace(event_id)
    assert trace_id(begun) != trace_id(begin_trace(event_id + "x"))
