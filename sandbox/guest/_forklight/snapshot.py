"""The startup snapshot of a function of Node.js: a process loads the function, writes its heap, and ends."""

import fcntl
import os
import signal
import socket
from collections.abc import Callable
from typing import Any, NoReturn

from . import posix, wire
from .imports import LoadError

_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
_MOST_BYTES = 1024 * 1024
"""What the process may tell: one frame."""
_REMEDY = (
    "its top-level code keeps what a snapshot cannot hold, such as a hash, a format of Intl, a Blob or a Response: "
    "make that in the handler, or leave out snapshot"
)


def build(fork: Callable[[], int], execute: "Callable[[int, int], NoReturn]") -> int:
    """Build it in a fork that calls `execute` with a data socket and a file; returns the file, which is sealed.

    Blocks. Raises LoadError.
    """
    blob = os.memfd_create("startup-snapshot", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    ours, theirs = socket.socketpair()
    pid = fork()
    if pid == 0:
        execute(theirs.fileno(), blob)
    theirs.close()
    unfit = _told(ours)
    _, status = os.waitpid(pid, 0)
    posix.kill_children()  # what top-level code has started
    code = os.waitstatus_to_exitcode(status)
    if unfit is not None:
        raise LoadError(unfit["code"], unfit["message"], unfit["traceback"])
    if code > 0:
        message = f"loading it for its startup snapshot did not return: it ended its process with exit code {code}"
        raise LoadError("InitFailed", message)
    if code < 0 or os.fstat(blob).st_size == 0:
        how = signal.Signals(-code).name if code < 0 else "without a word"
        raise LoadError("InitFailed", f"Node.js could not write a startup snapshot ({how}): {_REMEDY}")
    fcntl.fcntl(blob, fcntl.F_ADD_SEALS, _SEALS)
    return blob


def _told(ours: socket.socket) -> "dict[str, Any] | None":
    """What the process says before it ends: why the function cannot be loaded, or nothing."""
    with ours:
        frames = wire.Frames()
        got = 0
        while got < _MOST_BYTES and (chunk := ours.recv(64 * 1024)):
            got += len(chunk)
            frames.feed(chunk)
        frame = frames.next()
        return None if frame is None else frame[0]
