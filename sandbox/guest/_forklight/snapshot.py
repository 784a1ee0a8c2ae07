"""The startup snapshot of a function of Node.js: a process loads the function, writes its heap, and ends."""

import mmap
import os
import select
import signal
import socket
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

from . import memory_file, posix, wire
from .imports import LoadError

_MOST_BYTES = 1024 * 1024
"""What the process may tell: one frame."""
_CAUSES = (
    "its heap was full, or its top-level code keeps what a snapshot cannot hold, such as a hash, a format of Intl, "
    "a Blob, a stream of zlib or of the web, a script of vm, an async hook, or in Node.js 22 an Error: raise memory, "
    "make that in the handler, or leave out snapshot (the log has what Node.js says)"
)
_NOT_WRITTEN = 14
"""The exit code by which Node.js says so."""


class Snapshot(NamedTuple):
    """A file that nobody can change, and its memory, which counts as that of this process."""

    file: int
    memory: mmap.mmap


def build(fork: Callable[[], int], execute: "Callable[[int, int], NoReturn]", most_bytes: int) -> Snapshot:
    """Build it in a fork that calls `execute` with a data socket and a file.

    Blocks. Raises LoadError, also if it takes more than `most_bytes`.
    """
    blob = memory_file.make("startup-snapshot")
    ours, theirs = socket.socketpair()
    pid = fork()
    if pid == 0:
        execute(theirs.fileno(), blob)
    theirs.close()
    unfit = _told(ours, pid)
    _, status = os.waitpid(pid, 0)
    posix.kill_children()  # what top-level code has started
    code = os.waitstatus_to_exitcode(status)
    if unfit is not None:
        raise LoadError(unfit["code"], unfit["message"], unfit["traceback"])
    if code < 0 or code == _NOT_WRITTEN:
        by = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        raise LoadError("InitFailed", f"Node.js could not write a startup snapshot ({by}): {_CAUSES}")
    if code > 0 or os.fstat(blob).st_size == 0:
        message = f"loading it for its startup snapshot did not return: it ended its process with exit code {code}"
        raise LoadError("InitFailed", message)
    try:
        return Snapshot(blob, memory_file.seal(blob, most_bytes))
    except (OSError, ValueError) as error:
        raise LoadError("InitFailed", f"its startup snapshot cannot be kept: {error}") from None


def _told(ours: socket.socket, pid: int) -> "dict[str, Any] | None":
    """What the process says before it ends: why the function cannot be loaded, or nothing.

    What it has started may hold its socket for longer than it lives.
    """
    frames = wire.Frames()
    pidfd = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(ours, select.POLLIN)
    poll.register(pidfd, select.POLLIN)
    left = _MOST_BYTES
    with ours:
        while left > 0 and any(fd == ours.fileno() for fd, _ in poll.poll()) and (chunk := ours.recv(64 * 1024)):
            left -= len(chunk)
            frames.feed(chunk)
    os.close(pidfd)
    try:
        frame = frames.next()
        return None if frame is None else {name: frame[0][name] for name in ("code", "message", "traceback")}
    except (ValueError, KeyError, TypeError, StopIteration):  # of text that is no JSON, too
        message = "its top-level code writes to a descriptor that it has not opened, 3: leave that out"
        raise LoadError("InitFailed", message) from None
