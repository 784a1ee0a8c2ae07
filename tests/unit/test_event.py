"""Traces: an event that is part of none begins one."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.event import begin_trace, is_traceparent, trace_id
from sandbox.guest._forklight import traces

IDS = st.text() | st.uuids().map(str) | st.from_regex(r"[0-9a-f]{16}-[0-9a-f]{8}", fullmatch=True)


@pytest.mark.invariant("I13")
@given(IDS)
def test_every_event_can_begin_a_trace_the_same_on_both_sides(event_id: str) -> None:
    begun = begin_trace(event_id)
    assert is_traceparent(begun)
    assert begun == begin_trace(event_id) == traces.begin_trace(event_id)
    assert trace_id(event_id, None) == begun[3:35]


@pytest.mark.parametrize(
    ("event_id", "expected"),
    [
        ("e7fa4e6ba65c680b-0000001a", "00000000e7fa4e6ba65c680b0000001a"),
        ("0af76519-16cd-43dd-8448-eb211c80319c", "0af7651916cd43dd8448eb211c80319c"),
    ],
)
def test_an_id_of_hexadecimal_digits_is_that_of_its_trace(event_id: str, expected: str) -> None:
    assert trace_id(event_id, None) == expected


def test_what_could_be_no_trace_is_hashed() -> None:
    hashed = {trace_id(event_id, None) for event_id in ("", "order-7", "order-8", str(UUID(int=0)), "E7FA" * 8)}
    assert len(hashed) == 5
    assert trace_id("order-7", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").startswith("0af7651916cd43dd")
