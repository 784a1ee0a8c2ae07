"""The descriptors that connect one template or instance to the server, in pairs: our ends and the guest's.

| channel | ours | the guest's | for |
|---|---|---|---|
| socket | one end | the other | calls (stream) or control messages (SEQPACKET) |
| log | read end | write end | everything written to descriptors 1 and 2 |
| lifeline | the only write end | read end | closing it kills the guest's process group |
| memory | a sealed memfd | the same | a body of an event; behind it Python stacks, on request or at a fatal signal |

The memory is sealed at its size, so that a guest cannot make it grow or shrink. It is one file for both purposes,
because each descriptor costs every start.
"""

import contextlib
import fcntl
import mmap
import os
import signal
import socket
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType

from msgspec import Struct

from sandbox.guest._forklight.wire import MEMORY_BYTES, SHARED_BYTES, STACK_AT, TASKS_AT

_CALL_BUFFER_BYTES = 1024 * 1024
"""How much of a body one write may leave in the kernel; `net.core.wmem_max` may lower it. With its default of 208 KiB,
1 MiB takes five writes and wake-ups. Towards the server the default stays: it reads as fast as instances write."""


class Channels:
    """Our ends. `guest_fds` are the other ends: send them to the guest, then call `close_guest_ends`."""

    def __init__(self, kind: socket.SocketKind) -> None:
        with contextlib.ExitStack() as undo:  # all or nothing, as descriptors may run out halfway
            self.socket, self._guest_socket = socket.socketpair(socket.AF_UNIX, kind)
            if kind == socket.SOCK_STREAM:
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _CALL_BUFFER_BYTES)
            undo.callback(self.socket.close)
            undo.callback(self._guest_socket.close)
            self.log, log_end = _pipe(undo)
            lifeline_end, self.lifeline = _lifeline(undo)
            self.memory = _sealed_memory()
            undo.pop_all()
        self._mapped: mmap.mmap | None = None
        os.set_blocking(self.log, False)
        self.socket.setblocking(False)
        self.guest_fds: tuple[int, ...] = (self._guest_socket.fileno(), log_end, lifeline_end, self.memory)

    def close_guest_ends(self) -> None:
        """Close our copies of the guest's ends, which would hide its end of file. Idempotent."""
        self._guest_socket.close()
        for fd in self.guest_fds[1:3]:
            os.close(fd)
        self.guest_fds = ()

    def share(self, body: bytes) -> bool:
        """Leave a body of at most `SHARED_BYTES` to the guest, in place of the last; return False if that cannot be."""
        if self._mapped is None:
            try:
                self._mapped = mmap.mmap(self.memory, SHARED_BYTES)
            except OSError:
                return False
        self._mapped[: len(body)] = body
        return True

    def read_stack(self) -> str:
        """The text that faulthandler has written so far, possibly empty."""
        return self._read_stack(STACK_AT)

    def read_tasks(self) -> str:
        """The stacks of the tasks whose calls are overdue, as the guest has written them, possibly empty."""
        return self._read_stack(TASKS_AT)

    def clear_stack(self) -> None:
        """Forget what faulthandler has written, and have it write at the beginning again."""
        os.pwrite(self.memory, bytes(TASKS_AT - STACK_AT), STACK_AT)
        os.lseek(self.memory, STACK_AT, os.SEEK_SET)

    def _read_stack(self, at: int) -> str:
        return os.pread(self.memory, MEMORY_BYTES - at, at).partition(b"\0")[0].decode(errors="backslashreplace")

    def close(self) -> None:
        """Close all our ends except the log, which its reader closes after the last line."""
        if self.guest_fds:
            self.close_guest_ends()
        self.socket.close()
        if self._mapped is not None:
            self._mapped.close()
        for name in ("lifeline", "memory"):
            fd = getattr(self, name)
            if fd >= 0:
                os.close(fd)
                setattr(self, name, -1)

    def discard(self) -> None:
        """Close everything, including the log, which nobody reads yet."""
        self.close()
        with contextlib.suppress(OSError):
            os.close(self.log)

    def __enter__(self) -> "Channels":
        """Leaving the block closes the guest's ends, or, after an exception, everything."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None:
            self.close_guest_ends()
            return
        self.discard()


Learnt = Callable[[tuple[str, ...]], None]


class Body(Struct, frozen=True):
    """The process of an instance, and what connects it to the server."""

    id: str
    pid: int
    """0 if it was dead on arrival."""
    pidfd: int
    channels: Channels
    folder: Path
    baseline_kb: int | None
    """The template's memory at the fork, which is shared and not counted as this instance's own; None: it runs another
    program, and all that is of no file counts."""
    anonymous_kb: int
    """That of it which belongs to no file."""
    asynchronous: bool
    loaded_kb: int = 0
    """Memory of its own from before: it was the template, and has imported the function itself."""
    learnt: Learnt | None = None
    """Gets the modules that its first call imports; None: it was not asked."""


def _pipe(undo: contextlib.ExitStack) -> tuple[int, int]:
    ends = os.pipe2(os.O_CLOEXEC)
    for end in ends:
        undo.callback(os.close, end)
    return ends


def _lifeline(undo: contextlib.ExitStack) -> tuple[int, int]:
    """A pipe that kills the process group that owns its read end once the write end closes (fcntl(2), F_SETSIG).

    The template makes a new instance's group the owner. All else is done here, before the fork, where nothing waits.
    """
    end, ours = _pipe(undo)
    fcntl.fcntl(end, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(end, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
    return end, ours


def _sealed_memory() -> int:
    file = os.memfd_create("memory", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(file, MEMORY_BYTES)
    fcntl.fcntl(file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
    os.lseek(file, STACK_AT, os.SEEK_SET)  # where faulthandler begins
    return file


def close_all(fds: Iterable[int]) -> None:
    """Close descriptors that came with a message; errors are ignored."""
    for fd in fds:
        with contextlib.suppress(OSError):
            os.close(fd)
