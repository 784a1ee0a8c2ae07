"""A connection's bytes on their way out, and how many of them the client has taken."""

import select
import sys
from asyncio import Transport
from contextlib import suppress
from fcntl import ioctl
from socket import SO_LINGER, SOL_SOCKET
from struct import pack
from termios import TIOCOUTQ

from aiohttp.http_parser import RawRequestMessage

from triggers.http.answers import Answer, encode_answer
from triggers.http.socket.budget import UNCOUNTED_BYTES, Budget
from triggers.http.stamps import Stamps

PIECE_BYTES = 256 * 1024
"""Of a file, what is read and written at once."""

_RESET = pack("ii", 1, 0)
_JOIN_BYTES = 64 * 1024
_CLOSE = "connection: close\r\n"
_KEEP_ALIVE = "connection: keep-alive\r\n"
"""Said in HTTP/1.0 alone, which closes unless told otherwise (RFC 9112 §9.3)."""


class Outgoing:
    """Writes answers. `is_paused` while the transport holds more than it should."""

    __slots__ = ("_budget", "_held_bytes", "_stamps", "_wire", "_written_bytes", "is_paused")

    def __init__(self, wire: Transport, stamps: Stamps, budget: Budget) -> None:
        """`budget` is what all answers together may take that are not read yet."""
        self._wire = wire
        self._stamps = stamps
        self._budget = budget
        self._held_bytes = self._written_bytes = 0
        self.is_paused = False

    @property
    def unread_bytes(self) -> int:
        """What the client's machine has not acknowledged: ours has it, the transport or the kernel (SIOCOUTQ).

        The kernel's share may be megabytes, and it takes more only once a third of them has gone.
        """
        try:
            answer = ioctl(self._wire.get_extra_info("socket").fileno(), TIOCOUTQ, bytes(4))
        except OSError:  # it is closed
            answer = bytes(4)
        return self._wire.get_write_buffer_size() + int.from_bytes(answer, sys.byteorder)

    @property
    def read_bytes(self) -> int:
        """Of everything that was ever written."""
        return self._written_bytes - self.unread_bytes

    @property
    def has_reader(self) -> bool:
        """Whether the client has only sent its last byte, not closed. A unix socket tells; over TCP both look alike."""
        poll = select.poll()
        poll.register(self._wire.get_extra_info("socket").fileno(), 0)
        return not any(event & select.POLLHUP for _, event in poll.poll(0))

    def hold(self, answer: Answer) -> bool:
        """Whether there is memory for this answer until it is read; `release` gives it back."""
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

    def write(self, answer: Answer, message: RawRequestMessage | None, *, last: bool = True) -> None:
        """Head and body of the answer to `message`; None: it was refused before it was known."""
        method = message.method if message is not None else "GET"
        connection = _CLOSE if last else _KEEP_ALIVE if message is not None and message.version == (1, 0) else ""
        head, body = encode_answer(answer, method=method, connection=connection, date=self._stamps.date())
        if len(body) <= _JOIN_BYTES:
            self.send(head + body)
        else:
            self.send(head)
            self.send(body)

    def end(self) -> None:
        """Nothing more comes: sends EOF."""
        with suppress(OSError):  # it is gone already, which is read next
            self._wire.write_eof()

    def abort(self) -> None:
        """Closes at once; what is not taken is thrown away, from our memory and from the kernel's."""
        self._wire.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, _RESET)
        self._wire.abort()

    def send(self, data: bytes) -> None:
        if not self._wire.is_closing():
            self._wire.write(data)
            self._written_bytes += len(data)
