"""The two files of a kept log: the newer one is written, and takes the place of the older one when it is full.

They have half of the bound each. What they hold is readable by the server's user only. Everything here blocks. Nothing
is synced to the disk: a killed server loses nothing that was written, a power failure may cost the last seconds.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from threading import Lock

from forklight.observe.entry import Selection
from forklight.observe.kept.lines import Kept, LineReader, head
from forklight.state.directory import log_paths

_PIECE_BYTES = 128 * 1024
"""Read at once. Decoding holds the GIL, so a larger piece would delay the event loop."""


class KeptFiles:
    """The files of a running server. Its threads may write and read at the same time."""

    def __init__(self, state: Path, keep_bytes: int, started: float) -> None:
        """`started` identifies this server in the files, see `lines.Head`."""
        self.started = started
        self._older, self._newer = log_paths(state)
        self._half_bytes = keep_bytes // 2
        self._descriptor: int | None = None
        self._size_bytes = 0
        self._is_torn = False
        """Whether the file does not end with a whole line."""
        self._lock = Lock()
        """Held while the files change places."""

    @property
    def largest_bytes(self) -> int:
        """The most that can be written at once."""
        return self._half_bytes - len(head(self.started))

    def write(self, lines: bytes) -> None:
        """Append whole lines, up to `largest_bytes`. Raises OSError; then the same lines may be written again."""
        with self._lock:
            if self._descriptor is None or os.fstat(self._descriptor).st_nlink == 0:  # somebody has removed it
                self._open()
            if self._size_bytes + len(lines) + 1 > self._half_bytes:
                self._rotate()
            self._put(lines)

    def close(self) -> None:
        """Close the newer file."""
        with self._lock:
            self._close()

    def read(self, selection: Selection) -> Iterator[list[Kept]]:
        """Yield what the files hold of a selection, oldest first, in pieces. Raises OSError."""
        with ExitStack() as stack:
            with self._lock:
                descriptors = _opened((self._older, self._newer), stack)
            yield from _read(descriptors, selection)

    def _open(self) -> None:
        self._close()
        for path in (self._older, self._newer):
            with suppress(FileNotFoundError):
                if path.stat().st_size > self._half_bytes:  # the bound was larger before
                    path.unlink()
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(self._newer, flags, 0o600)
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise OSError(f"{self._newer} is not a file")
            os.fchmod(descriptor, 0o600)
            self._size_bytes = found.st_size
            self._is_torn = found.st_size > 0 and os.pread(descriptor, 1, found.st_size - 1) != b"\n"
        except OSError:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        if self._size_bytes + len(head(self.started)) + 1 > self._half_bytes:
            self._rotate()
        else:
            self._put(head(self.started))

    def _rotate(self) -> None:
        self._close()
        os.replace(self._newer, self._older)
        self._open()

    def _put(self, lines: bytes) -> None:
        assert self._descriptor is not None
        left = b"\n" + lines if self._is_torn else lines
        self._is_torn = True
        while left:
            count = os.write(self._descriptor, left)
            self._size_bytes += count
            left = left[count:]
        self._is_torn = False

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def read_kept(state: Path, selection: Selection) -> Iterator[list[Kept]]:
    """Yield what the servers on the state directory `state` have kept. Raises OSError. Blocks."""
    with ExitStack() as stack:
        yield from _read(_opened(log_paths(state), stack), selection)


def read_latest(state: Path, most_bytes: int) -> Iterator[Kept]:
    """Yield what is in the last `most_bytes` of each file in the state directory `state`. Raises OSError. Blocks."""
    with ExitStack() as stack:
        for descriptor in _opened(log_paths(state), stack):
            reader = LineReader(Selection())
            yield from reader.feed(os.read(descriptor, _PIECE_BYTES).partition(b"\n")[0] + b"\n")  # whose it is
            size_bytes = os.fstat(descriptor).st_size
            found = os.pread(descriptor, most_bytes, max(0, size_bytes - most_bytes))
            yield from reader.feed(found.partition(b"\n")[2])


def has_kept(state: Path) -> bool:
    """Return whether a server on the state directory `state` has kept anything."""
    return any(path.exists() for path in log_paths(state))


def remove_kept(state: Path) -> None:
    """Remove the files, if possible. Blocks."""
    for path in log_paths(state):
        with suppress(OSError):
            path.unlink()


def _opened(paths: tuple[Path, ...], stack: ExitStack) -> list[int]:
    descriptors = []
    for path in paths:
        with suppress(FileNotFoundError):
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            stack.callback(os.close, descriptor)
            descriptors.append(descriptor)
    return descriptors


def _read(descriptors: list[int], selection: Selection) -> Iterator[list[Kept]]:
    reader = LineReader(selection)
    for descriptor in descriptors:
        while piece := os.read(descriptor, _PIECE_BYTES):
            yield reader.feed(piece)
        yield reader.end()
