"""Repairs at a start: messages whose times came from a wrong clock are moved."""

import contextlib
import logging
import sqlite3
from datetime import timedelta

from bus.sqlite.clock import Clocks, Reading, Shift, StoreClock, opened
from bus.sqlite.database import roll_back

log = logging.getLogger(__name__)

CLOCK = "store/clock"
"""The fact with the last reading."""

REMEMBER = "INSERT OR REPLACE INTO facts (name, value) VALUES (?, ?)"
_AHEAD = (
    # A message delayed under the right clock is due as stored; for retries the time of storing is unknown, so all move.
    (
        "UPDATE messages SET due_ns = due_ns + :by WHERE typeof(due_ns) = 'integer' AND due_ns > :now "
        "AND (stored_ns > :now OR attempts > 0)"
    ),
    "UPDATE messages SET stored_ns = stored_ns + :by WHERE typeof(stored_ns) = 'integer' AND stored_ns > :now",
)
_BEHIND = (
    "UPDATE messages SET due_ns = due_ns + :by WHERE typeof(due_ns) = 'integer' AND due_ns > :was",
    "UPDATE messages SET stored_ns = stored_ns + :by WHERE typeof(stored_ns) = 'integer'",
)


def open_clock(connection: sqlite3.Connection, clocks: Clocks) -> StoreClock:
    """Return the store's clock, after moving stored times if the wall clock changed. Raises sqlite3.Error."""
    now_ns, shift = opened(_last(connection), clocks.wall_ns())
    if shift is not None:
        moved = _mend(connection, shift)
        log.warning(
            "the clock is %s %s than the store's, so it was wrong or was set; delayed messages adjusted to it: %d",
            timedelta(seconds=abs(shift.by_ns) // 10**9),
            "earlier" if shift.by_ns < 0 else "later",
            moved,
        )
    return StoreClock(clocks, now_ns)


def as_fact(reading: Reading) -> tuple[str, str]:
    """The name and value of the fact."""
    return CLOCK, f"{reading.store_ns} {reading.wall_ns}"


def _last(connection: sqlite3.Connection) -> Reading | None:
    found = connection.execute("SELECT value FROM facts WHERE name = ?", (CLOCK,)).fetchone()
    with contextlib.suppress(TypeError, ValueError):
        store, wall = found[0].split()
        return Reading(int(store), int(wall))
    # A store without a reading: it is at least as late as its newest message.
    [newest_ns] = connection.execute("SELECT max(stored_ns) FROM messages").fetchone()
    return Reading(newest_ns, newest_ns) if isinstance(newest_ns, int) else None


def _mend(connection: sqlite3.Connection, shift: Shift) -> int:
    """Return how many delayed messages were moved."""
    due, stored = _AHEAD if shift.by_ns < 0 else _BEHIND
    values = {"by": shift.by_ns, "was": shift.was_ns, "now": shift.now_ns}
    connection.execute("BEGIN IMMEDIATE")
    try:
        moved = connection.execute(due, values).rowcount
        connection.execute(stored, values)
        connection.execute(REMEMBER, as_fact(Reading(shift.now_ns, shift.now_ns)))
        connection.execute("COMMIT")
    finally:
        roll_back(connection)
    return moved
