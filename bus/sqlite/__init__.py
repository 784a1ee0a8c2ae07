"""The embedded store: one file of this process's own, through the `sqlite3` module.

In reading order:

- `store.py`: its face in the event loop
- `operations.py`: what the loop hands to the writer's thread, and back
- `writer.py`: that thread, which owns the connection, the leases and the order
- `transaction.py`: what one group commit writes
- `reads.py`: deliveries, and what people ask to see
- `rows.py`: messages as rows
- `leases.py`: who has which message, in memory

- `database.py`: the schema, and the settings that the promises rest on
- `clock.py`: the time that `due` counts in
- `mending.py`: what a start repairs after a clock that was wrong
- `faults.py`: what is wrong with the files, in words
- `rescue.py`: copies: a backup, and of a file that was lost while open
- `shrinking.py`: giving room back to the disk
"""

from bus.sqlite.clock import Clocks
from bus.sqlite.store import SqliteStore, open_sqlite

__all__ = ["Clocks", "SqliteStore", "open_sqlite"]
