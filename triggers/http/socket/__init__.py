"""Bytes of clients, in and out.

- `listen.py`: the listening socket; `retire.py`: how to give one up without resetting anybody
- `life.py`: the life of a connection as a table; `connection.py`: carries it out
- `intake.py`, `body.py`, `malformed.py`: bytes become requests, or refusals
- `outgoing.py`: answers become bytes
- `deadline.py`: who is too slow; `connections.py`, `budget.py`: limits over all connections
"""
