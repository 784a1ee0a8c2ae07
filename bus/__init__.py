"""Events, outcomes, the bus and the stores: what all other parts share. Imports nothing of ours.

In reading order:

- `event.py`: what happened, as CloudEvents attributes, a body and one trigger's section
- `outcome.py`: how its invocation ended
- `invocation.py`: the record of both, which triggers report
- `bus.py`: the roads from a trigger to the dispatcher and to the stores
- `message.py`: what a queue holds; events and outputs as messages
- `outputs.py`: where a handler's outputs go
- `retry.py`: the settle table, which decides what happens to a message
- `store.py`: the protocol of stores, which `sqlite` and `rabbitmq` implement
- `limits.py`: limits on names, the same for every store; `places.py`: `orders@shop`
- `keeping.py`, `in_flight.py`: background tasks that survive exceptions; waiting until nothing is in progress
- `times.py`: times as RFC 3339 texts; `hint.py`: the known name closest to a wrong one
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
