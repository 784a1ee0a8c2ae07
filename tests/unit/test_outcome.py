"""Where an event's time went, from its outcome."""

from bus import Ok, Timings
from bus.outcome import phases_ns

TIMINGS = Timings(accepted_ns=100, assigned_ns=150, started_ns=160, finished_ns=190)


def test_an_event_that_took_a_ready_instance_waited_in_line() -> None:
    assert phases_ns(Ok(timings=TIMINGS, start="warm")) == (50, 10, 30)


def test_an_event_that_had_an_instance_made_waited_for_its_start() -> None:
    assert phases_ns(Ok(timings=TIMINGS, start="fork")) == (0, 60, 30)
