"""What a server remembers of invocations, and how it presents its state.

- `observer.py`: all of this put together, and subscribed to the bus
- `entry.py`: one line of a function, or one invocation; `entries.py`: how one is made; `formats.py`: how it is written
- `journal.py`: entries on their way to standard output; `rings.py`: the latest of them, kept in memory
- `kept/`: the entries that outlive the server, in files
- `explanation.py`: what is remembered of one invocation, for `why`
- `tally.py`: counters; `status.py`: what the server does now, as types; `function_status.py`, `queue_status.py`,
  `timer_status.py`: how it is gathered
- `usage.py`: what functions have held and used, beside what they would if they were always on; `function_usage.py`: how
  that is gathered
- `metrics.py`: all of this, for Prometheus
- `terminal.py`: the only place that writes to a terminal
"""
