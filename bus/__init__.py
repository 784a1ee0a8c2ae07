"""Events in, outcomes out: the types every other part of Forklight agrees on. Imports nothing of ours."""

from bus.event import CallSection, Event, HttpSection, QueueSection, TimerSection, TopicSection
from bus.outcome import Failed, Ok, Outcome, Output, Timings

__all__ = [
    "CallSection",
    "Event",
    "Failed",
    "HttpSection",
    "Ok",
    "Outcome",
    "Output",
    "QueueSection",
    "TimerSection",
    "Timings",
    "TopicSection",
]
