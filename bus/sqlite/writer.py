"""The one thread that owns the store: its connection, its leases and its order.

The event loop puts operations into an inbox and gets the results by a callback; the two share nothing else. One round
of the thread:

1. take all waiting operations, up to a limit: they gathered while the previous round waited for the disk. Changes of
   the consumers, one or a thousand, end a round, so that operations before and after them keep their order;
2. run the writes in one transaction and commit it, with one sync of the disk for all of them (group commit);
3. carry out the reads and the change;
4. read the ready messages for every queue whose consumers have room, and some ahead (`shelf.py`), so that a message
   just stored reaches its consumer in the same callback that confirms it to its publisher;
5. call back into the loop once, with everything.

If the transaction fails it is rolled back and its writes run again one by one, so that only those fail that cannot
succeed. A write that fails because of the database (a full disk) marks the store as not connected; the thread then
tries a write of its own every second until one succeeds. A store that is damaged, or whose file is no longer under its
name, accepts nothing more (`_fault`): new messages would be lost. Between rounds the thread sleeps until the inbox has
an operation, until a message is due for which a consumer has room, or until it is time to check the file.

A row that is not a message is skipped and becomes a dead letter, so that it blocks no other.
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
from bus.sqlite.operations import Answer, Change, Copy, Operation, Read, Result, Write, answer_to, fail, hand_over
from bus.sqlite.reads import Arrival, Unreadable, View
from bus.sqlite.rescue import copy_to, rescued
from bus.sqlite.shrinking import AGAIN_S, QUIET_S, shrink
from bus.sqlite.transaction import Transaction
from bus.store import StoreError

log = logging.getLogger(__name__)

_GROUP_LIMIT = 256
"""The most operations in a round: a full group takes well under a tenth of a second."""
_PROBE_S = 1.0
_LOOK_S = 5.0
"""How long a removed or replaced file may go unnoticed while nothing is written."""
_NOT_THEIRS = (sqlite3.DataError, sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.InterfaceError)
"""Errors of a bad value, not of a bad disk."""

T = TypeVar("T")


class Writer:
    """Use `start`, then any number of operations from the same event loop, then `stop`."""

    def __init__(self, path: Path, clocks: Clocks) -> None:
        self.path = path
        self._clocks = clocks
        self._inbox: queue.SimpleQueue[Operation | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="store", daemon=True)
        self._loop = asyncio.get_running_loop()
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._ended = asyncio.Event()
        self._postponed: Operation | None = None
        """Taken out of the inbox, but to be done in the next round."""
        self._copies: deque[Copy] = deque()
        self._is_open = self._is_stopping = False
        self._is_ending = self._is_copying = False
        self._is_failing = False
        self._logged: set[int] = set()
        """Unreadable rows that have been logged."""
        self._fault = ""
        """Why the store accepts nothing more; empty while it does."""
        self._is_lost = False
        """Whether that is because the file is no longer under its name. It may come back."""
        self.is_writable = True
        """Whether the last write was committed."""

    async def start(self) -> None:
        """Return once the store is open. Raises StoreError."""
        self._thread.start()
        try:
            await self._opened
        except Exception:
            self._thread.join()
            raise

    async def stop(self) -> None:
        """Return once all operations are done and the store is closed."""
        self._is_stopping = True
        self._inbox.put(None)
        await self._ended.wait()
        self._thread.join()

    async def write(self, run: Callable[[Transaction], Any], then: Callable[[], None] | None = None) -> Any:
        """Return the result of `run` once it is committed. It may happen even if cancelled. Raises StoreError.

        `then` is called once it is committed, cancelled or not.
        """
        return await self._ask(lambda answer: Write(run, answer), then)

    def write_soon(self, run: Callable[[Transaction], Any], answer: Answer) -> None:
        """Like `write`, for callers without a task. Raises StoreError if the store is closed."""
        self._put(Write(run, answer))

    async def read(self, run: Callable[[View], Any]) -> Any:
        """Return the result of `run`. Raises StoreError."""
        return await self._ask(lambda answer: Read(run, answer))

    def change(self, run: Callable[[Leases], None]) -> None:
        """Change the leases before the next operation."""
        self._inbox.put(Change(run))

    async def copy(self, path: Path) -> None:
        """Make a copy at `path`, which must not exist. Raises StoreError."""
        await self._ask(lambda answer: Copy(path, answer))

    async def _ask(
        self, operation: Callable[[Answer], Write | Read | Copy], then: Callable[[], None] | None = None
    ) -> Any:
        future = self._loop.create_future()
        self._put(operation(answer_to(future, then)))
        return await future

    def _put(self, operation: Write | Read | Copy) -> None:
        if self._is_stopping:
            raise StoreError(f"the store {self.path} is closed")
        self._inbox.put(operation)

    # From here on: in the thread.

    def _run(self) -> None:
        """Whatever happens here, `start` and `stop` must not wait for ever."""
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
        """A bug of ours ended the thread: fail all waiting operations, and refuse new ones."""
        log.exception("the store %s has failed and accepts nothing more: restart the server", self.path)
        self._is_stopping, self.is_writable = True, False
        waiting: list[Write | Read | Copy] = [*self._copies]
        if isinstance(self._postponed, Write | Read | Copy):
            waiting.append(self._postponed)
        with contextlib.suppress(queue.Empty):
            while True:
                operation = self._inbox.get_nowait()
                if isinstance(operation, Write | Read | Copy):
                    waiting.append(operation)
        error = StoreError(f"the store {self.path} has failed: restart the server")
        self._call_back(hand_over, [], [(each.answer, None, error) for each in waiting])

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
        except Exception as error:  # a bug of ours must not leave callers waiting for ever
            if not self._is_failing:
                log.exception("the store %s failed", self.path)
            self._is_failing = True
            asked = [each.answer for each in operations if not isinstance(each, Change)]
            self._call_back(hand_over, [], [(answer, None, self._note(error)) for answer in asked])

    def _copy(self, copy: Copy) -> None:
        """Rounds continue between its steps: our writes reach the copy too (sqlite.org/c3ref/backup_finish.html)."""
        error, self._is_copying = None, True
        try:
            copy_to(self._connection, copy.path, meanwhile=self._go_on)
        except (OSError, sqlite3.Error, StoreError) as failure:
            error = failure if isinstance(failure, StoreError) else StoreError(f"the store cannot be copied: {failure}")
        self._is_copying = False
        self._call_back(hand_over, [], [(copy.answer, None, error)])

    def _go_on(self) -> None:
        """Do a round. Raises StoreError if the store is closing, which ends the copy."""
        self._do(self._take(waits=False))
        if self._is_ending:
            raise StoreError(f"the store {self.path} was closed before it was copied")

    def _take(self, *, waits: bool = True) -> list[Operation]:
        """Return the next group of operations, empty if messages are due; note whether it is the last one."""
        operations: list[Operation] = []
        with contextlib.suppress(queue.Empty):
            operation, self._postponed = self._postponed, None
            if operation is None:
                operation = self._inbox.get(timeout=self._sleep_s()) if waits else self._inbox.get_nowait()
            while operation is not None:
                if operations and isinstance(operations[-1], Change) and not isinstance(operation, Change):
                    self._postponed = operation
                    return operations
                operations.append(operation)
                if len(operations) == _GROUP_LIMIT:
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
        """Check the file before each write, and from time to time."""
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
        self._fault = f"the store {self.path} accepts nothing more: {lost}; restart the server"
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
        """Move unreadable rows to the dead letters. If that fails, they are skipped until the next operation."""
        for row in unreadable:
            if row.id not in self._logged:
                self._logged.add(row.id)
                log.error(
                    "the store %s: row %d of queue %s is not a message and becomes a dead letter: %s",
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
            return [(write.answer, None, StoreError(self._fault)) for write in writes]
        try:
            return self._transact(lambda transaction: [(each.answer, each.run(transaction), None) for each in writes])
        except Exception as error:
            if len(writes) == 1:
                return [(writes[0].answer, None, self._note(error))]
        return [result for write in writes for result in self._commit([write])]

    def _transact(self, run: Callable[[Transaction], T], *, ends: bool = False) -> T:
        """Commit what `run` does, together with a reading of the clock if one is due or `ends` is set."""
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
            transaction.finish()
            self._connection.execute("COMMIT")
        finally:
            roll_back(self._connection)
        transaction.learn()
        if reading is not None and (set_ns := self._clock.note(reading)):
            log.warning("the clock was set by %+.0f s: delays in the store are not affected", set_ns / 1e9)
        if self._connection.total_changes != before:
            self._recovered()
        return result

    def _answer(self, read: Read) -> Result:
        try:
            return read.answer, read.run(self._view), None
        except Exception as error:
            return read.answer, None, self._note(error)

    def _probe(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            write_nothing(self._connection)
            self._recovered()

    def _recovered(self) -> None:
        if not self.is_writable:
            log.warning("the store %s can be written again", self.path)
        self.is_writable = True

    def _note(self, error: Exception) -> StoreError:
        """Return the error for callers. An error of the database decides whether the store is writable."""
        if isinstance(error, StoreError):
            return error
        message = writing_fault(self.path, error)
        if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, _NOT_THEIRS):
            if is_damage(error) and not self._fault:
                self._fault = message
            if self.is_writable:
                log.error(
                    "%s%s", message, "; it accepts nothing more" if self._fault else " (nothing can be stored now)"
                )
            self.is_writable = False
        return StoreError(message)

    def _call_back(self, function: Callable[..., object], *arguments: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed, so nobody waits
            self._loop.call_soon_threadsafe(function, *arguments)
