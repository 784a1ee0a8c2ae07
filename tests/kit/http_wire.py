"""A transport in memory, for tests that control the order in which things happen to a connection.

Where a connection can tell, it behaves like those of asyncio and uvloop: a closed transport is lost one turn of the
loop after everything is sent; nothing is read while reading is paused, or after EOF.
"""

import asyncio
import errno
import socket
from asyncio import AbstractEventLoop, Transport
from typing import Any

from triggers.http.socket.connection import Connection

HIGH_BYTES = 64 * 1024


class Wire(Transport):
    """`taken` is what the client has read. It reads at once unless `stalled`. `wrong` lists forbidden calls."""

    def __init__(self, loop: AbstractEventLoop, connection: Connection) -> None:
        super().__init__()
        self._loop = loop
        self._connection = connection
        self._ours, self._clients = socket.socketpair()
        self._unsent = bytearray()
        self._is_closing = False
        self._is_paused = False
        self._waiting: list[bytes] = []
        self.taken = b""
        self.stalled = False
        self.eof_sent = self.is_lost = False
        self.is_reset = False
        self.wrong: list[str] = []
        connection.connection_made(self)

    # Called by the test, for the client.

    def client_sends(self, data: bytes) -> None:
        if not self._is_closing:
            self._waiting.append(data)
            self._deliver()

    def client_ends(self) -> None:
        """Half-close, which is read after everything that was sent."""
        self.client_sends(b"")

    def client_resets(self, *, unread: bool = False) -> None:
        """`unread`: the reset has arrived, but is read only in the next turn of the loop."""
        self.is_reset = True
        self._unsent.clear()
        if unread:
            self._loop.call_soon(self.client_resets)
        elif not self._is_closing:
            self._close(ConnectionResetError())

    def client_reads(self) -> None:
        self.stalled = False
        self._flush()

    # Called by the connection.

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"socket": self._ours, "peername": ("127.0.0.1", 1)}.get(name, default)

    def is_closing(self) -> bool:
        return self._is_closing

    def get_write_buffer_size(self) -> int:
        return len(self._unsent)

    def write(self, data: "bytes | bytearray | memoryview[Any]") -> None:
        if self.eof_sent or self._is_closing:
            self.wrong.append("written behind the end")
        if not self.is_reset:
            self._unsent += data
        self._flush()
        if len(self._unsent) > HIGH_BYTES:
            self._connection.pause_writing()

    def write_eof(self) -> None:
        if self._is_closing:
            self.wrong.append("end behind the end")
        self.eof_sent = True
        if self.is_reset:
            raise OSError(errno.ENOTCONN, "as shutdown(2) says then")

    def pause_reading(self) -> None:
        if self._is_closing:
            self.wrong.append("paused behind the end")
        self._is_paused = True

    def resume_reading(self) -> None:
        if self._is_closing:
            self.wrong.append("resumed behind the end")
        self._is_paused = False
        self._loop.call_soon(self._deliver)

    def close(self) -> None:
        self._is_paused = True
        if not self._is_closing and not self._unsent:
            self._close(None)
        self._is_closing = True

    def abort(self) -> None:
        self._unsent.clear()
        if not self.is_lost:
            self._close(None)

    def _flush(self) -> None:
        if self.stalled or not self._unsent:
            return
        was_paused = len(self._unsent) > HIGH_BYTES
        self.taken += bytes(self._unsent)
        self._unsent.clear()
        if self._is_closing:
            self._close(None)
        elif was_paused:
            self._connection.resume_writing()

    def _deliver(self) -> None:
        while self._waiting and not self._is_paused and not self._is_closing:
            data = self._waiting.pop(0)
            if data:
                self._connection.data_received(data)
            else:
                self._is_paused = True
                if not self._connection.eof_received():
                    self.close()

    def _close(self, error: Exception | None) -> None:
        self._is_closing = self.is_lost = True
        self._loop.call_soon(self._lose, error)

    def _lose(self, error: Exception | None) -> None:
        self._ours.close()
        self._clients.close()
        self._connection.connection_lost(error)


async def settle(most_turns: int = 200) -> int:
    """Run the loop until it is at rest; return the number of turns. Raises AssertionError if something spins."""
    loop = asyncio.get_running_loop()
    ready = loop._ready  # type: ignore[attr-defined]  # asyncio's own loop: the callbacks of its next turn
    for turn in range(most_turns):
        await asyncio.sleep(0)
        if not ready:
            return turn
    raise AssertionError("the event loop does not come to rest")
