"""The one thread that owns the store: its connection, its leases and its order.

The event loop puts operations into an inbox and gets the results back by a callback; nothing is shared but that. One
round of the thread:

1. take all operations that are there, up to a bound; they gathered while the round before was at the disk. A change of
   who consumes ends a round, so that what was asked before it and after it keeps to that order;
2. run the writes among them in one transaction and commit it: one sync of the disk for all (group commit);
3. answer what people ask to see, and make the change;
4. read, for every consumer that has room, what is ready: so a message that was just stored reaches its consumer
   with the same callback that tells its publisher;
5. call back into the loop once, with everything.

If the transaction fails it is rolled back and its writes are run again one by one, so that exactly those fail that
cannot be done. A write that fails by the database's fault (a full disk) marks the store as not connected; the thread
then tries a write of its own every second until one succeeds. A store that is damaged, or whose file is no longer the
one under its name, takes nothing more at all (`_fault`): what it took would be lost. Between rounds the thread sleeps
until something comes into the inbox, until the first delay ends that somebody has room for, or until it is time to look
after the file.

A row that holds no message is passed over and made a dead letter, so that it harms no other.
"""

import asyncio
import contextlib
import itertools
import logging
import queue
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from bus.sqlite.clock import Clocks
from bus.sqlite.database import open_database, roll_back, write_nothing
from bus.sqlite.faults import Identity, is_damage, opening_fault, writing_fault
from bus.sqlite.leases import Leases
from bus.sqlite.mending import as_fact, open_clock
from bus.sqlite.operations import Change, Copy, Operation, Read, Result, Write, fail, hand_over
from bus.sqlite.reads import Arrival, Unreadable, View
from bus.sqlite.rescue import copy_to, rescued
from bus.sqlite.shrinking import AGAIN_S, QUIET_S, shrink
from bus.sqlite.transaction import Transaction
from bus.store import StoreError

log = logging.getLogger(__name__)

_GROUP_LIMIT = 256
"""Operations in one round: what a full group waits for stays well under a tenth of a second."""
_PROBE_S = 1.0
_LOOK_S = 5.0
"""How long a file that was removed or replaced may go unnoticed while nothing is written."""
_NOT_THEIRS = (sqlite3.DataError, sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.InterfaceError)
"""What SQLite raises for a bad value, not for a bad disk."""

T = TypeVar("T")


class Writer:
    """`start`, any number of operations from the event loop that started it, `stop`."""

    def __init__(self, path: Path, clocks: Clocks) -> None:
        self.path = path
        self._clocks = clocks
        self._inbox: queue.SimpleQueue[Operation | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="store", daemon=True)
        self._loop = asyncio.get_running_loop()
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._ended = asyncio.Event()
        self._copies: deque[Copy] = deque()
        self._is_open = self._is_stopping = False
        self._is_ending = self._is_copying = False
        self._is_failing = False
        self._told: set[int] = set()
        """Rows that hold no message, once they were told of."""
        self._fault = ""
        """Why the store takes nothing more; empty while it does."""
        self._is_lost = False
        """Whether that is because the file is no longer under its name; it may come back."""
        self.is_writable = True
        """Whether the last write was committed."""

    async def start(self) -> None:
        """Returns when the store is open. Raises StoreError."""
        self._thread.start()
        try:
            await self._opened
        except Exception:
            self._thread.join()
            raise

    async def stop(self) -> None:
        """Returns when everything that was given is done and the store is closed."""
        self._is_stopping = True
        self._inbox.put(None)
        await self._ended.wait()
        self._thread.join()

    async def write(self, run: Callable[[Transaction], Any]) -> Any:
        """Returns what `run` did once it is committed. Cancelled, it may be done all the same. Raises StoreError."""
        return await self._ask(Write(run, self._loop.create_future()))

    async def read(self, run: Callable[[View], Any]) -> Any:
        """Returns what `run` found. Raises StoreError."""
        return await self._ask(Read(run, self._loop.create_future()))

    def change(self, run: Callable[[Leases], None]) -> None:
        """Have it done before whatever comes next."""
        self._inbox.put(Change(run))

    async def copy(self, path: Path) -> None:
        """Make a copy at `path`, which must not exist. Raises StoreError."""
        await self._ask(Copy(path, self._loop.create_future()))

    async def _ask(self, operation: Write | Read | Copy) -> Any:
        if self._is_stopping:
            raise StoreError(f"the store {self.path} is closed")
        self._inbox.put(operation)
        return await operation.future

    # From here on: in the thread.

    def _run(self) -> None:
        """Whatever happens here, who waits for the store to open or to close is told."""
        try:
            with contextlib.closing(open_database(self.path)) as connection:
                self._begin(connection)
                self._is_open = True
                self._call_back(self._opened.set_result, None)
                self._serve()
        except Exception as error:
            is_of_disk = isinstance(error, OSError | sqlite3.Error)
            self._call_back(fail, self._opened, StoreError(opening_fault(self.path, error)) if is_of_disk else error)
            if self._is_open:
                self._abandon()
        finally:
            self._call_back(self._ended.set)

    def _abandon(self) -> None:
        """A bug of ours has ended the thread: nobody may wait for ever because of it."""
        log.exception("the store %s has failed, and takes nothing more; restart the server", self.path)
        self._is_stopping, self.is_writable = True, False
        waiting: list[Write | Read | Copy] = [*self._copies]
        with contextlib.suppress(queue.Empty):
            while True:
                operation = self._inbox.get_nowait()
                if isinstance(operation, Write | Read | Copy):
                    waiting.append(operation)
        error = StoreError(f"the store {self.path} has failed: restart the server")
        self._call_back(hand_over, [], [(each.future, None, error) for each in waiting])

    def _begin(self, connection: sqlite3.Connection) -> None:
        [newest_id] = connection.execute("SELECT coalesce(max(id), 0) FROM messages").fetchone()
        self._connection = connection
        self._leases = Leases()
        self._clock = open_clock(connection, self._clocks)
        self._view = View(connection, self._leases, self._clock)
        self._ids = itertools.count(newest_id + 1)
        self._identity = Identity(self.path)
        self._looked_s = self._busy_s = self._shrinks_from_s = time.monotonic()
        shrink(connection, self.path, at_start=True)

    def _serve(self) -> None:
        while not self._is_ending:
            self._do(self._take())
            while self._copies:
                self._copy(self._copies.popleft())
        if self.is_writable:
            self._note_clock(ends=True)

    def _do(self, operations: Sequence[Operation]) -> None:
        try:
            self._look(operations)
            self._round(operations)
            self._is_failing = False
        except Exception as error:  # a bug of ours: nobody may wait for ever because of it
            if not self._is_failing:
                log.exception("the store %s failed", self.path)
            self._is_failing = True
            asked = [each.future for each in operations if not isinstance(each, Change)]
            self._call_back(hand_over, [], [(future, None, self._note(error)) for future in asked])

    def _copy(self, copy: Copy) -> None:
        """Between its steps, rounds go on: what we write reaches the copy too (sqlite.org/c3ref/backup_finish.html)."""
        error, self._is_copying = None, True
        try:
            copy_to(self._connection, copy.path, meanwhile=self._go_on)
        except (OSError, sqlite3.Error, StoreError) as failure:
            error = failure if isinstance(failure, StoreError) else StoreError(f"the store cannot be copied: {failure}")
        self._is_copying = False
        self._call_back(hand_over, [], [(copy.future, None, error)])

    def _go_on(self) -> None:
        """Raises StoreError if the store is to be closed: whoever waits for a copy waits in vain then."""
        self._do(self._take(waits=False))
        if self._is_ending:
            raise StoreError(f"the store {self.path} was closed before it was copied")

    def _take(self, *, waits: bool = True) -> list[Operation]:
        """The next group, empty if it is time to look for what is due; notes whether there will be another."""
        operations: list[Operation] = []
        with contextlib.suppress(queue.Empty):
            operation = self._inbox.get(timeout=self._sleep_s()) if waits else self._inbox.get_nowait()
            while operation is not None:
                operations.append(operation)
                if len(operations) == _GROUP_LIMIT or isinstance(operation, Change):
                    return operations
                operation = self._inbox.get_nowait()
            self._is_ending = True
        return operations

    def _sleep_s(self) -> float:
        if not self.is_writable or self._is_failing:
            return _PROBE_S
        due_ns = self._leases.next_due_ns()
        if due_ns is None:
            return _LOOK_S
        return min(_LOOK_S, max(0.0, (due_ns - self._clock.now_ns()) / 1e9))

    def _look(self, operations: Sequence[Operation]) -> None:
        """Look after the file before each write, and now and then."""
        now_s = time.monotonic()
        is_idle = now_s - self._looked_s >= (_LOOK_S if self.is_writable else _PROBE_S)
        if not is_idle and not any(isinstance(each, Write) for each in operations):
            return
        self._looked_s = now_s
        self._busy_s = now_s if operations else self._busy_s
        lost = self._identity.lost()
        if lost and not self._fault:
            self._lose(lost)
        elif self._is_lost and not lost:
            self._fault, self._is_lost = "", False
        if is_idle and not self._fault:
            self._upkeep(now_s)

    def _lose(self, lost: str) -> None:
        self._fault = f"the store {self.path} takes nothing more: {lost}; restart the server"
        self._is_lost, self.is_writable = True, False
        log.error("%s. %s", self._fault, rescued(self._connection, self.path))

    def _upkeep(self, now_s: float) -> None:
        if not self.is_writable:
            self._probe()
            return
        if self._clock.news() is not None:
            self._note_clock(ends=False)
        is_quiet = now_s - self._busy_s >= QUIET_S and not self._is_copying
        if is_quiet and now_s >= self._shrinks_from_s and not shrink(self._connection, self.path, at_start=False):
            self._shrinks_from_s = now_s + AGAIN_S

    def _note_clock(self, *, ends: bool) -> None:
        try:
            self._transact(lambda _: None, ends=ends)
        except sqlite3.Error as error:
            self._note(error)

    def _round(self, operations: Sequence[Operation]) -> None:
        results = self._commit([each for each in operations if isinstance(each, Write)])
        for operation in operations:
            if isinstance(operation, Change):
                operation.run(self._leases)
            elif isinstance(operation, Read):
                results.append(self._answer(operation))
            elif isinstance(operation, Copy):
                self._copies.append(operation)
        arrivals: list[Arrival] = []
        unreadable: list[Unreadable] = []
        try:
            if not self._fault:
                self._view.lease_ready(arrivals, unreadable)
        except sqlite3.Error as error:
            self._note(error)
        if arrivals or results:
            self._call_back(hand_over, arrivals, results)
        if unreadable:
            self._set_aside(unreadable)

    def _set_aside(self, unreadable: Sequence[Unreadable]) -> None:
        """If it cannot be done now, the rows stay where they are, passed over until something else comes."""
        for row in unreadable:
            if row.id not in self._told:
                self._told.add(row.id)
                log.error(
                    "the store %s: row %d of queue %s holds no message, it goes to the dead letters: %s",
                    *(self.path, row.id, row.intake.source.queue, row.why),
                )
        try:
            self._transact(lambda transaction: transaction.set_aside(unreadable))
        except sqlite3.Error as error:
            self._note(error)

    def _commit(self, writes: Sequence[Write]) -> list[Result]:
        if not writes:
            return []
        if self._fault:
            return [(write.future, None, StoreError(self._fault)) for write in writes]
        try:
            return self._transact(lambda transaction: [(each.future, each.run(transaction), None) for each in writes])
        except Exception as error:
            if len(writes) == 1:
                return [(writes[0].future, None, self._note(error))]
        return [result for write in writes for result in self._commit([write])]

    def _transact(self, run: Callable[[Transaction], T], *, ends: bool = False) -> T:
        """Commit what `run` does, and a reading of the clock if it is time for one, or the end."""
        now_ns, before = self._clock.now_ns(), self._connection.total_changes
        reading = self._clock.reading() if ends else self._clock.news()
        transaction = Transaction(
            self._connection, self._leases, self._ids, now_ns=now_ns, died_at_s=self._clock.wall_s(now_ns)
        )
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            result = run(transaction)
            if reading is not None:
                transaction.remember(dict([as_fact(reading)]))
            self._connection.execute("COMMIT")
        finally:
            roll_back(self._connection)
        transaction.learn()
        if reading is not None and (set_ns := self._clock.note(reading)):
            log.warning("the clock was set by %+.0f s: delays in the store keep to the time that passes", set_ns / 1e9)
        if self._connection.total_changes != before:
            self._recovered()
        return result

    def _answer(self, read: Read) -> Result:
        try:
            return read.future, read.run(self._view), None
        except Exception as error:
            return read.future, None, self._note(error)

    def _probe(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            write_nothing(self._connection)
            self._recovered()

    def _recovered(self) -> None:
        if not self.is_writable:
            log.warning("the store %s can be written again", self.path)
        self.is_writable = True

    def _note(self, error: Exception) -> StoreError:
        """The error as callers get it; one that is the database's says whether the store can be written."""
        if isinstance(error, StoreError):
            return error
        told = writing_fault(self.path, error)
        if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, _NOT_THEIRS):
            if is_damage(error) and not self._fault:
                self._fault = told
            if self.is_writable:
                log.error("%s%s", told, "; it takes nothing more" if self._fault else " (nothing can be stored now)")
            self.is_writable = False
        return StoreError(told)

    def _call_back(self, function: Callable[..., object], *arguments: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(function, *arguments)
