"""The journal: every line of every function, and one line per invocation or request, written to standard output.

The event loop only appends; a thread formats and writes in batches, so a stalled reader (a full pipe, a pager) never
delays an event. Beyond `BACKLOG_BYTES` of unwritten lines, new ones are dropped and counted. Rings keep the latest
entries of each function for `forklight logs` and `forklight why`.
"""

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache

import anyio
import anyio.to_thread

from bus.event import trace_id
from bus.invocation import Invocation
from forklight.observe.entries import entry_of
from forklight.observe.entry import Entry, Noted, Selection, size_bytes
from forklight.observe.rings import Rings
from sandbox.log_lines import LogLine

BACKLOG_BYTES = 32 * 1024 * 1024
"""Bound of what is not yet written, and of what one follower has not yet read."""
GATHER_S = 0.05
"""How long lines are gathered before a thread writes them: a thread per line would cost more than the event."""

BATCH = 100
"""Entries written at once: rendering holds the GIL, so a larger batch delays the event loop for longer."""

Format = Callable[[Sequence[Entry]], bytes]
"""Renders entries as lines."""
Keep = Callable[[Noted], None]
"""Must not block."""

_trace_id = lru_cache(maxsize=64)(trace_id)
"""Cached because an invocation writes many lines, which then also share the text."""


class Journal:
    """Takes entries in the event loop; `run` writes them to a descriptor."""

    def __init__(self, render: Format, descriptor: int, *, invocations: bool = True, keep: Keep | None = None) -> None:
        """`keep` gets every entry too, to keep it beyond the end of the server."""
        self._render = render
        self._keep = keep
        self._descriptor = descriptor
        self._invocations = invocations
        self._backlog: deque[Noted] = deque()
        self._added_bytes = 0
        self._written_bytes = 0
        """Of `_added_bytes`. Only the writing thread changes it."""
        self._dropped = 0
        self._wake = anyio.Event()
        self.count = 0
        """The number of entries so far."""
        self._rings = Rings()
        self._followers: list[Follower] = []
        self._followed = anyio.Event()
        self.is_closed = False

    @property
    def is_quiet(self) -> bool:
        """Whether invocations and requests get no line."""
        return not self._invocations

    def line(self, line: LogLine) -> None:
        """Add a line written by a process of a function."""
        self._add(
            Entry(
                time=time.time(),
                function=line.function,
                text=line.text,
                instance=line.instance,
                level=line.level,
                invocation=line.invocation or "",
                traceback=line.traceback,
                extra=line.extra,
                release=line.release,
                trace_id=_trace_id(line.invocation, line.traceparent) if line.invocation else "",
            )
        )

    def report(self, invocation: Invocation) -> None:
        """Add the line of an invocation or a request, unless the journal is quiet."""
        if self._invocations:
            self._add(entry_of(invocation, time.time(), time.monotonic_ns()))

    def latest(self, selection: Selection) -> list[Entry]:
        """Return the entries of a selection that are in memory, oldest first."""
        return [entry for _, entry in self._rings.numbered(selection)]

    def numbered(self, selection: Selection) -> list[tuple[int, Entry]]:
        """Return the same with the number of each: the first entry of the journal has 1."""
        return self._rings.numbered(selection)

    @contextmanager
    def follow(self) -> Iterator["Follower"]:
        """Yield a follower of everything from now on. One that is too slow loses the oldest entries."""
        follower = Follower(self)
        self._followers.append(follower)
        try:
            yield follower
        finally:
            self._followers.remove(follower)

    async def wait_followed(self) -> None:
        """Wait until there is a new entry, or the journal is closed."""
        await self._followed.wait()

    def close(self) -> None:
        """End the followers, once they have read what there is."""
        self.is_closed = True
        self._followed.set()

    async def run(self) -> None:
        """Write until cancelled, then write the rest once."""
        try:
            while True:
                await self._wake.wait()
                await anyio.sleep(GATHER_S)
                self._wake = anyio.Event()
                await anyio.to_thread.run_sync(self._write, abandon_on_cancel=False)  # never two threads at once
        finally:
            with anyio.CancelScope(shield=True), anyio.move_on_after(1.0):  # a stalled reader must not delay the end
                await anyio.to_thread.run_sync(self._write, abandon_on_cancel=True)

    def _add(self, entry: Entry) -> None:
        self.count += 1
        size = size_bytes(entry)
        noted = (self.count, entry, size)
        if self._added_bytes - self._written_bytes < BACKLOG_BYTES:
            self._added_bytes += size
            self._backlog.append(noted)
            if len(self._backlog) == 1:  # looked up after `append`: a longer one is being written, or about to be
                self._wake.set()
        else:
            self._dropped += 1
        self._rings.add(noted)
        if self._keep is not None:
            self._keep(noted)
        if self._followers:
            for follower in self._followers:
                follower.add(noted)
            self._followed.set()
            self._followed = anyio.Event()  # an event cannot be reset: the next wait needs a new one

    def _write(self) -> None:
        """Write the backlog, in a thread. `popleft` and `append` of a deque are atomic, so no lock is needed."""
        while self._backlog:
            batch = [self._backlog.popleft() for _ in range(min(BATCH, len(self._backlog)))]
            self._put(self._render([entry for _, entry, _ in batch]))
            self._written_bytes += sum([size for _, _, size in batch])
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            self._put(self._render([Entry(time=time.time(), function="", text=f"{dropped} lines dropped")]))

    def _put(self, data: bytes) -> None:
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError:  # the reader has gone; events matter more
            return


class Follower:
    """One reader of new entries."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._entries: deque[Noted] = deque()
        self._size_bytes = 0

    def add(self, noted: Noted) -> None:
        """Add an entry; the oldest ones make room for it."""
        self._entries.append(noted)
        self._size_bytes += noted[2]
        while self._size_bytes > BACKLOG_BYTES:
            self._size_bytes -= self._entries.popleft()[2]

    async def next(self) -> Entry | None:
        """Wait for the next entry; None once the journal is closed."""
        while not self._entries:
            if self._journal.is_closed:
                return None
            await self._journal.wait_followed()
        _, entry, size = self._entries.popleft()
        self._size_bytes -= size
        return entry
