"""Returning the space of settled messages to the disk. SQLite keeps it in the file for new ones.

`VACUUM` rewrites all remaining data and blocks everything else meanwhile. It runs only if it frees at least half of the
file and `WORTH_BYTES`: at the start, and after `QUIET_S` without operations if little data remains. The temporary copy
needs as much space as the remaining data.
"""

import logging
import sqlite3
from pathlib import Path

log = logging.getLogger(__name__)

WORTH_BYTES = 64 * 1024 * 1024
LITTLE_BYTES = 64 * 1024 * 1024
"""Rewritten in less than a second."""
QUIET_S = 30.0
AGAIN_S = 3600.0
"""The pause after a failure: the disk may have no space for the copy."""


def shrink(connection: sqlite3.Connection, path: Path, *, at_start: bool) -> bool:
    """Make the file smaller if that is worth it. Return False if it failed."""
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
