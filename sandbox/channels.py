"""The descriptors that tie one template or instance to the dispatcher, made in pairs: our ends and the guest's.

| channel | ours | the guest's | for |
|---|---|---|---|
| socket | one end | the other | calls (stream) or control messages (SEQPACKET) |
| log | read end | write end | everything written to descriptors 1 and 2 |
| lifeline | the only write end | read end | its closing kills the guest's process group |
| stack | a sealed memfd | the same | the Python stack written by faulthandler when we ask, or at a fatal signal |

The stack's file is sealed at its size, so a guest cannot make it grow; it is read only when a call has gone wrong.
"""

import contextlib
import fcntl
import os
import socket
from types import TracebackType

STACK_BYTES = 64 * 1024


class Channels:
    """Our ends. `guest_fds` are the other ends: hand them over, then call `close_guest_ends`."""

    def __init__(self, kind: socket.SocketKind) -> None:
        with contextlib.ExitStack() as undo:  # all or nothing: the next one may find no descriptor left
            self.socket, self._guest_socket = socket.socketpair(socket.AF_UNIX, kind)
            undo.callback(self.socket.close)
            undo.callback(self._guest_socket.close)
            self.log, log_end = _pipe(undo)
            lifeline_end, self.lifeline = _pipe(undo)
            self.stack = _sealed_file()
            undo.pop_all()
        os.set_blocking(self.log, False)
        self.socket.setblocking(False)
        self.guest_fds: tuple[int, ...] = (self._guest_socket.fileno(), log_end, lifeline_end, self.stack)

    def close_guest_ends(self) -> None:
        """Once the guest has its ends, ours of them must go, or no end of file would ever be seen. Idempotent."""
        self._guest_socket.close()
        for fd in self.guest_fds[1:3]:
            os.close(fd)
        self.guest_fds = ()

    def read_stack(self) -> str:
        """What faulthandler has written so far, as text; empty if it wrote nothing."""
        return os.pread(self.stack, STACK_BYTES, 0).rstrip(b"\0").decode(errors="backslashreplace")

    def close(self) -> None:
        """Close everything of ours except the log, which its reader closes after the last line."""
        if self.guest_fds:
            self.close_guest_ends()
        self.socket.close()
        for name in ("lifeline", "stack"):
            fd = getattr(self, name)
            if fd >= 0:
                os.close(fd)
                setattr(self, name, -1)

    def discard(self) -> None:
        """Close everything, the log too: nobody has begun to read it."""
        self.close()
        with contextlib.suppress(OSError):
            os.close(self.log)

    def __enter__(self) -> "Channels":
        """Within `with`, a failure to hand the ends over closes all of them."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None:
            self.close_guest_ends()
            return
        self.discard()


def _pipe(undo: contextlib.ExitStack) -> tuple[int, int]:
    ends = os.pipe2(os.O_CLOEXEC)
    for end in ends:
        undo.callback(os.close, end)
    return ends


def _sealed_file() -> int:
    file = os.memfd_create("stack", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(file, STACK_BYTES)
    fcntl.fcntl(file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
    return file
