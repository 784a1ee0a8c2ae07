"""The descriptors that connect one template or instance to the server, in pairs: our ends and the guest's.

| channel | ours | the guest's | for |
|---|---|---|---|
| socket | one end | the other | calls (stream) or control messages (SEQPACKET) |
| log | read end | write end | everything written to descriptors 1 and 2 |
| lifeline | the only write end | read end | closing it kills the guest's process group |
| stack | a sealed memfd | the same | the Python stack that faulthandler writes on request or at a fatal signal |
| shared | a sealed memfd | the same | bodies of events, of an instance only |

Both files are sealed at their sizes, so that a guest cannot make them grow or shrink.
"""

import contextlib
import fcntl
import mmap
import os
import socket
from pathlib import Path
from types import TracebackType

from msgspec import Struct

from sandbox.guest._forklight.wire import SHARED_BYTES, STACK_BYTES, TASKS_AT

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
            lifeline_end, self.lifeline = _pipe(undo)
            self.stack = _sealed_file("stack", STACK_BYTES)
            undo.callback(os.close, self.stack)
            self.shared = _sealed_file("shared", SHARED_BYTES) if kind == socket.SOCK_STREAM else -1
            undo.pop_all()
        self._memory: mmap.mmap | None = None
        os.set_blocking(self.log, False)
        self.socket.setblocking(False)
        self.guest_fds: tuple[int, ...] = (self._guest_socket.fileno(), log_end, lifeline_end, self.stack)
        if self.shared >= 0:
            self.guest_fds += (self.shared,)

    def close_guest_ends(self) -> None:
        """Close our copies of the guest's ends, which would hide its end of file. Idempotent."""
        self._guest_socket.close()
        for fd in self.guest_fds[1:3]:
            os.close(fd)
        self.guest_fds = ()

    def share(self, body: bytes) -> bool:
        """Leave a body of at most `SHARED_BYTES` to the guest, in place of the last; return False if that cannot be."""
        if self._memory is None:
            try:
                self._memory = mmap.mmap(self.shared, SHARED_BYTES)
            except OSError:
                return False
        self._memory[: len(body)] = body
        return True

    def read_stack(self) -> str:
        """The text that faulthandler has written so far, possibly empty."""
        return self._read_stack(0)

    def read_tasks(self) -> str:
        """The stacks of the tasks whose calls are overdue, as the guest has written them, possibly empty."""
        return self._read_stack(TASKS_AT)

    def clear_stack(self) -> None:
        """Forget what faulthandler has written, and have it write at the beginning again."""
        os.pwrite(self.stack, bytes(TASKS_AT), 0)
        os.lseek(self.stack, 0, os.SEEK_SET)

    def _read_stack(self, at: int) -> str:
        return os.pread(self.stack, STACK_BYTES, at).partition(b"\0")[0].decode(errors="backslashreplace")

    def close(self) -> None:
        """Close all our ends except the log, which its reader closes after the last line."""
        if self.guest_fds:
            self.close_guest_ends()
        self.socket.close()
        if self._memory is not None:
            self._memory.close()
        for name in ("lifeline", "stack", "shared"):
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


class Body(Struct, frozen=True):
    """The process of an instance, and what connects it to the server."""

    id: str
    pid: int
    """0 if it was dead on arrival."""
    pidfd: int
    channels: Channels
    folder: Path
    baseline_kb: int
    """The template's memory at the fork, which is shared and not counted as this instance's own."""
    asynchronous: bool
    loaded_kb: int = 0
    """Memory of its own from before: it was the template, and has imported the function itself."""


def _pipe(undo: contextlib.ExitStack) -> tuple[int, int]:
    ends = os.pipe2(os.O_CLOEXEC)
    for end in ends:
        undo.callback(os.close, end)
    return ends


def _sealed_file(name: str, size_bytes: int) -> int:
    file = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(file, size_bytes)
    fcntl.fcntl(file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
    return file
