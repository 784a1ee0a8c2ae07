"""Events in, outcomes out: the types that every other part agrees on, the bus, and the stores. Imports nothing of ours.

In reading order:

- `event.py`: what happened, as CloudEvents attributes, a body and one trigger's section
- `outcome.py`: how its invocation ended
- `invocation.py`: the record of both, which triggers report
- `bus.py`: the roads from a trigger to the dispatcher and to the stores
- `message.py`: what a queue holds; events and outputs as messages
- `outputs.py`: where what a handler sent goes
- `retry.py`: the settle table, which decides what becomes of a message
- `store.py`: what a store promises; `sqlite` and `rabbitmq` keep it
- `limits.py`: names that no store takes
- `keeping.py`, `in_flight.py`: background tasks that survive their own mistakes; waiting until nothing is in flight
- `times.py`: times as RFC 3339 texts
"""

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
