"""Checks every path through the table of a connection's life."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggers.http.socket.life import STEPS, Act, Phase, Signal

WAITING = (Phase.IDLE, Phase.HEAD, Phase.BODY, Phase.WRITE)
"""The phases in which something is waited for, which only SERVE, WAKE and TIME_OUT end."""


def test_each_pair_has_one_step() -> None:
    for phase, signal in product(Phase, Signal):
        after, act = STEPS[signal][phase]
        assert isinstance(after, Phase)
        assert isinstance(act, Act)


@pytest.mark.parametrize("signal", Signal)
def test_an_ended_connection_never_comes_back(signal: Signal) -> None:
    assert STEPS[signal][Phase.GONE] == (Phase.GONE, Act.NOTHING)
    assert STEPS[signal][Phase.ENDING][0] in (Phase.ENDING, Phase.GONE)
    assert STEPS[signal][Phase.ENDING][1] in (Act.NOTHING, Act.CLOSE, Act.ABORT, Act.CANCEL)


def test_what_waits_goes_on_when_its_phase_ends() -> None:
    """Otherwise the connection is about to be lost, which ends all waiting."""
    for phase, signal in product(WAITING, Signal):
        after, act = STEPS[signal][phase]
        if after is Phase.BUSY:
            assert act in (Act.WAKE if phase is Phase.WRITE else Act.SERVE, Act.TIME_OUT)
        elif after is Phase.ENDING:
            assert act in (Act.CLOSE, Act.ABORT)
        elif after is Phase.GONE:
            assert act is Act.CANCEL
        else:
            assert after is phase or (phase, after) == (Phase.IDLE, Phase.HEAD)


def test_the_steps_of_every_request_are_those_that_the_connection_takes_without_the_table() -> None:
    assert {STEPS[Signal.READY][phase] for phase in (Phase.IDLE, Phase.HEAD)} == {(Phase.BUSY, Act.SERVE)}
    assert STEPS[Signal.ANSWERED][Phase.BUSY] == (Phase.IDLE, Act.NOTHING)


def test_every_ending_works_from_every_phase() -> None:
    for phase in Phase:
        assert STEPS[Signal.LOST][phase][0] is Phase.GONE
        assert STEPS[Signal.CUT][phase][0] in (Phase.ENDING, Phase.GONE)
        assert STEPS[Signal.FAILED][phase][0] in (Phase.ENDING, Phase.GONE)


def test_a_connection_overdue_twice_ends() -> None:
    for phase in Phase:
        later = STEPS[Signal.OVERDUE][STEPS[Signal.OVERDUE][phase][0]][0]
        assert later in (Phase.ENDING, Phase.GONE)


@pytest.mark.invariant("I29")
@given(st.lists(st.sampled_from(Signal), max_size=30))
def test_no_path_answers_twice_or_after_the_end(signals: list[Signal]) -> None:
    """BUSY begins with one request or refusal; STOP, LAST and ANSWERED leave it with an answer."""
    phase, requests, answers = Phase.IDLE, 0, 0
    for signal in signals:
        before = phase
        phase, act = STEPS[signal][phase]
        if before in (Phase.IDLE, Phase.HEAD) and phase is Phase.BUSY:
            requests += 1
        if before is Phase.BUSY and (act is Act.STOP or signal in (Signal.LAST, Signal.ANSWERED)):
            answers += 1
        assert answers <= requests
        if before in (Phase.ENDING, Phase.GONE):
            assert act not in (Act.STOP, Act.SERVE, Act.WAKE, Act.TIME_OUT, Act.LINGER)
