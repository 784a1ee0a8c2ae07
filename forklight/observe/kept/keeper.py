"""The queue in front of the files: the event loop appends to it, a thread writes it."""

import logging
from collections import deque

import anyio
import anyio.to_thread

from forklight.observe.entry import Entry, Noted
from forklight.observe.kept.files import KeptFiles
from forklight.observe.kept.lines import lines

log = logging.getLogger(__name__)

QUEUE_BYTES = 16 * 1024 * 1024
"""Bound of what is not yet written. Beyond it new entries are dropped and counted."""
GATHER_S = 0.25
"""How long entries are gathered before a thread writes them: what a killed server may lose."""
AGAIN_S = 5.0
"""The pause after a failure."""
LAST_S = 1.0
"""How long the last write may take, at the end of the server."""
BATCH = 100
"""Entries written at once: encoding holds the GIL, so a larger batch delays the event loop for longer."""


class Keeper:
    """Keeps what it is given, as far as the disk allows. `run` once."""

    def __init__(self, files: KeptFiles) -> None:
        self.files = files
        self._queue: deque[Noted] = deque()
        self._added_bytes = 0
        self._written_bytes = 0
        """Of `_added_bytes`. Only the thread changes it."""
        self._dropped = 0
        self._is_failing = False
        self._wake = anyio.Event()

    def add(self, noted: Noted) -> None:
        """Keep an entry. Never blocks."""
        if self._added_bytes - self._written_bytes >= QUEUE_BYTES:
            self._dropped += 1
            return
        self._added_bytes += noted[2]
        self._queue.append(noted)
        if len(self._queue) == 1:  # looked up after `append`: a longer one is being written, or about to be
            self._wake.set()

    def pending(self) -> list[tuple[int, Entry]]:
        """Return what is not written yet."""
        return [(number, entry) for number, entry, _ in self._queue.copy()]  # `copy` is atomic, iterating is not

    async def run(self) -> None:
        """Write until cancelled, then write the rest once."""
        try:
            while True:
                await self._wake.wait()
                await anyio.sleep(AGAIN_S if self._is_failing else GATHER_S)
                self._wake = anyio.Event()
                await self._in_thread()
                if self._is_failing:
                    self._wake.set()
        finally:
            with anyio.CancelScope(shield=True), anyio.move_on_after(LAST_S):
                await anyio.to_thread.run_sync(self._write_last, abandon_on_cancel=True)

    async def _in_thread(self) -> None:
        await anyio.to_thread.run_sync(self._write, abandon_on_cancel=False)  # never two threads at once

    def _write_last(self) -> None:
        self._write()
        self.files.close()

    def _write(self) -> None:
        """Write the queue, in a thread. What fails stays in the queue. Each operation of a deque is atomic."""
        try:
            while self._queue:
                self._write_batch()
        except OSError as error:
            if not self._is_failing:
                self._is_failing = True
                log.error("the log is not kept for now, and serving goes on: %s", error)
            return
        if self._is_failing or self._dropped:
            dropped, self._dropped, self._is_failing = self._dropped, 0, False
            log.warning("the log is kept again; %d lines of it were not kept", dropped)

    def _write_batch(self) -> None:
        """Raises OSError."""
        batch = [self._queue[index][:2] for index in range(min(BATCH, len(self._queue)))]
        text = lines(batch)
        if len(text) <= self.files.largest_bytes:
            self.files.write(text)
        else:
            for one in map(lines, zip(batch)):
                if len(one) <= self.files.largest_bytes:
                    self.files.write(one)
                else:
                    self._dropped += 1
        for _ in batch:
            self._written_bytes += self._queue.popleft()[2]
