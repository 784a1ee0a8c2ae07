"""Sockets and bytes: from the listener to requests, and from answers back to bytes.

- `bind.py`: opens the listening socket; `listener.py`: runs a task for each connection, and drains; `retire.py`: closes
  the socket without resetting a client
- `life.py`: the life of a connection as a table; `connection.py`: carries the actions out; `errands.py`: what its task
  has to do
- `intake.py`, `body.py`, `malformed.py`: turn bytes into requests or refusals
- `outgoing.py`: writes answers and counts what the client has read
- `deadline.py`: when a connection is overdue; `connections.py`, `budget.py`: limits that all connections share
"""
