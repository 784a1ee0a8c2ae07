"""The embedded store: one file of this process's own, through the `sqlite3` module.

In reading order:

- `store.py`: the interface in the event loop
- `operations.py`: what the event loop and the writer's thread hand each other
- `writer.py`: that thread, which owns the connection, the leases and the order
- `transaction.py`: what one group commit writes
- `reads.py`: deliveries, statistics and browsing
- `rows.py`: messages as rows
- `shelf.py`: messages read ahead, shared by the consumers of a queue
- `leases.py`: which consumer has which message, in memory

- `database.py`: the schema, and the settings that durability rests on
- `clock.py`: the time in which `due` is measured
- `mending.py`: repairs at a start after the clock was wrong
- `faults.py`: what is wrong with the files, in words
- `rescue.py`: copies, as a backup or of a file that was lost while open
- `shrinking.py`: returning free space to the disk
"""

from bus.sqlite.clock import Clocks
from bus.sqlite.store import SqliteStore, open_sqlite

__all__ = ["Clocks", "SqliteStore", "open_sqlite"]
