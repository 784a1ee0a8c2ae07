"""Writes the answers of a connection, and counts how much of them the client has read."""

import select
import sys
from asyncio import Transport
from collections.abc import Awaitable, Callable
from contextlib import suppress
from fcntl import ioctl
from socket import SO_LINGER, SOL_SOCKET
from struct import pack
from termios import TIOCOUTQ

from anyio import to_thread

from triggers.http.answers import Answer, Content, encode_answer
from triggers.http.socket.budget import UNCOUNTED_BYTES, Budget
from triggers.http.socket.request import Request
from triggers.http.stamps import Stamps

PIECE_BYTES = 256 * 1024
"""How much of a file is read and written at once."""

_RESET = pack("ii", 1, 0)
_JOIN_BYTES = 64 * 1024
_CLOSE = "connection: close\r\n"


class Outgoing:
    """`is_paused` while the transport's write buffer is over its high-water mark."""

    __slots__ = ("_budget", "_held_bytes", "_stamps", "_wire", "_written_bytes", "is_paused")

    def __init__(self, wire: Transport, stamps: Stamps, budget: Budget) -> None:
        """`budget` limits all answers together that clients have not read."""
        self._wire = wire
        self._stamps = stamps
        self._budget = budget
        self._held_bytes = self._written_bytes = 0
        self.is_paused = False

    @property
    def unread_bytes(self) -> int:
        """How much the client's machine has not acknowledged: the transport's buffer and the kernel's (SIOCOUTQ).

        The kernel may hold megabytes, and becomes writable again only after a third of them has been sent.
        """
        try:
            answer = ioctl(self._wire.get_extra_info("socket").fileno(), TIOCOUTQ, bytes(4))
        except OSError:  # the socket is closed
            answer = bytes(4)
        return self._wire.get_write_buffer_size() + int.from_bytes(answer, sys.byteorder)

    @property
    def read_bytes(self) -> int:
        """How much of everything written has been acknowledged."""
        return self._written_bytes - self.unread_bytes

    @property
    def has_reader(self) -> bool:
        """Whether a half-closed client still reads. Known on a unix socket; over TCP a closed client looks the same."""
        poll = select.poll()
        poll.register(self._wire.get_extra_info("socket").fileno(), 0)
        return not any(event & select.POLLHUP for _, event in poll.poll(0))

    def hold(self, answer: Answer) -> bool:
        """Take memory for an answer until `release`; return False if the budget has none."""
        size = len(answer.body) if answer.content is None else min(answer.content.size_bytes, PIECE_BYTES)
        if size > UNCOUNTED_BYTES:
            if not self._budget.take(size):
                return False
            self._held_bytes += size
        return True

    def release(self) -> None:
        if self._held_bytes:
            self._budget.give_back(self._held_bytes)
            self._held_bytes = 0

    def write(self, answer: Answer, request: Request | None, *, last: bool = True) -> None:
        """Write the answer to `request`, which is None if it could not be parsed."""
        method, connection = ("GET", "") if request is None else (request.method, request.goes_on)
        date, wire = self._stamps.date(), self._wire
        head, body = encode_answer(answer, method=method, connection=_CLOSE if last else connection, date=date)
        if wire.is_closing():
            return
        self._written_bytes += len(head) + len(body)
        if len(body) <= _JOIN_BYTES:
            wire.write(head + body)
        else:
            wire.writelines((head, body))  # one writev; two writes would be two packets and two system calls

    async def write_content(self, content: Content, wait_read: Callable[[], Awaitable[None]]) -> bool:
        """Write piece by piece, each after the client has read most of the one before, which `wait_read` awaits.

        Return False if the file was truncated: then only a reset tells the client that the end is missing.
        """
        offset = 0
        while offset < content.size_bytes:
            piece = await to_thread.run_sync(content.read, offset, PIECE_BYTES)
            if not piece:
                return False
            self.send(piece)
            offset += len(piece)
            if self._wire.is_closing():
                break
            if self.is_paused and offset < content.size_bytes:
                await wait_read()
        return True

    def end(self) -> None:
        """Send EOF."""
        with suppress(OSError):  # the client is gone, as the transport is about to report
            self._wire.write_eof()

    def abort(self) -> None:
        """Close at once, and discard unsent bytes, also those in the kernel."""
        self._wire.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, _RESET)
        self._wire.abort()

    def send(self, data: bytes) -> None:
        if not self._wire.is_closing():
            self._wire.write(data)
            self._written_bytes += len(data)
