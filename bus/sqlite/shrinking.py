"""Giving back the room that settled messages had: SQLite keeps it in the file for new ones, and never gets smaller.

`VACUUM` writes all that is left anew, and nothing else can be done meanwhile. So it is done when at least half of the
file, and `WORTH_BYTES`, would be won: at the start, and while nothing has come for `QUIET_S`, then only if what is left
is little. A temporary copy takes as much room as is left.
"""

import logging
import sqlite3
from pathlib import Path

log = logging.getLogger(__name__)

WORTH_BYTES = 64 * 1024 * 1024
LITTLE_BYTES = 64 * 1024 * 1024
"""What is rewritten in less than a second."""
QUIET_S = 30.0
AGAIN_S = 3600.0
"""How long after one that failed: the disk may have no room for it."""


def shrink(connection: sqlite3.Connection, path: Path, *, at_start: bool) -> bool:
    """Make the file smaller if that is worth it. False if it was tried and failed."""
    try:
        page_bytes, pages, free = (
            connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_size", "page_count", "freelist_count")
        )
        free_bytes, left_bytes = free * page_bytes, (pages - free) * page_bytes
        if free_bytes < max(WORTH_BYTES, left_bytes) or not (at_start or left_bytes <= LITTLE_BYTES):
            return True
        connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    except sqlite3.Error as error:
        log.warning("the store %s could not be made smaller: %s", path, error)
        return False
    log.info("the store %s is %d MiB smaller", path, free_bytes // 2**20)
    return True
