"""An outcome survives its way to the command line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus import Failed, Ok, Outcome
from bus.outcome import Timings
from forklight.serving.invoking import cli_event, outcome_as_json, outcome_from_json

_timings = st.builds(Timings, *[st.integers(0, 2**62)] * 4)
_ok = st.builds(
    Ok,
    body=st.binary(max_size=100),
    content_type=st.none() | st.text(max_size=20),
    status=st.integers(100, 599),
    headers=st.lists(st.tuples(st.text(max_size=5), st.text(max_size=5)), max_size=3).map(tuple),
    timings=_timings,
    start=st.sampled_from(["warm", "fork", "load", "boot", None]),
)
_failed = st.builds(
    Failed,
    kind=st.sampled_from(["error", "timeout", "throttled"]),
    code=st.text(max_size=10),
    message=st.text(max_size=20),
    retry_after_s=st.none() | st.floats(0, 100),
    timings=_timings,
)


@pytest.mark.invariant("I35")
@given(_ok | _failed)
def test_an_outcome_comes_back_as_it_was(outcome: Outcome) -> None:
    assert outcome_from_json(outcome_as_json(outcome)) == outcome


def test_the_event_says_who_called() -> None:
    event = cli_event("greet", b"{}", "application/json")
    assert event.call is not None
    assert (event.function, event.call.caller, event.type, event.datacontenttype) == (
        "greet",
        "cli",
        "forklight.call",
        "application/json",
    )
