"""Forwards connections: from boxes, whose networks lead nowhere, to the places that their functions may reach.

Theory of operation. A template listens, in its box, at an address for each place, and gives these sockets away before
it runs any code of the function. The server hands them to this process, which has the network of the server and none of
its rights. For each connection it looks up the place's name, connects to it, and passes on bytes both ways, whatever
they mean. Neither end is read faster than the other takes: what cannot be written yet stays with its sender. One
direction may end before the other.

A connection in a box is established before this process hears of it. If its place refuses, or cannot be found, it is
reset, and the server is told why.
"""

import asyncio
import concurrent.futures
import contextlib
import os
import signal
import socket
import struct
import time
from typing import Any, NoReturn

from . import control, posix

MOST_CONNECTIONS = 512
"""For each box. Further ones wait in the queue of its socket."""
_CONNECT_S = 10.0
_QUIET_S = 10.0
"""How long not to tell again that a place cannot be reached, for the same reason."""
_SHORT_OF_DESCRIPTORS_S = 0.5
_LOOKUPS = 32
"""How many names to look up at a time; each takes a thread."""
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER without a time: closing resets the connection."""
_IGNORED = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)

Place = tuple[str, int]


def main(control_fd: int, lifeline: int) -> NoReturn:
    """Forward until the server closes the control socket or dies. Never returns."""
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    posix.arm_lifeline(lifeline)
    posix.forbid_new_privileges()
    connection = socket.socket(fileno=control_fd)
    connection.set_inheritable(False)
    os.set_inheritable(lifeline, False)
    asyncio.run(_serve(connection))
    os._exit(0)


async def _serve(connection: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    loop.set_default_executor(concurrent.futures.ThreadPoolExecutor(_LOOKUPS))
    ended = loop.create_future()
    forwarder = Forwarder(connection)

    def readable() -> None:
        try:
            message, fds = control.receive(connection)
        except control.Ended:
            loop.remove_reader(connection)
            ended.set_result(None)
            return
        forwarder.take(message, fds)

    message, _ = await loop.run_in_executor(None, control.receive, connection)
    posix.forbid_inspection()  # not earlier: the server first writes our oom_score_adj, then sends its first message
    control.send(connection, {"t": "ready", "n": message["n"]})
    loop.add_reader(connection, readable)
    await ended


class Forwarder:
    """The places of all boxes."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._boxes: dict[int, Box] = {}
        """By the server's numbers."""

    def take(self, message: "dict[str, Any]", fds: "list[int]") -> None:
        """Do what the server asks for."""
        n = message["n"]
        if message["t"] == "forward":
            box = self._boxes.setdefault(n, Box(n, self._connection))
            box.listen(fds, [(host, port) for host, port in message["to"]])
            control.send(self._connection, {"t": "forwarding", "n": n})
        elif message["t"] == "release" and n in self._boxes:
            self._boxes.pop(n).close()


class Box:
    """The sockets that listen in one box, and the connections that came from it."""

    def __init__(self, n: int, connection: socket.socket) -> None:
        self._n = n
        self._connection = connection
        self._listeners: dict[socket.socket, Place] = {}
        self._pairs: set[Pair] = set()
        self._quiet_until_s: dict[tuple[Place, str], float] = {}
        self._is_listening = False
        self._is_closed = False

    def listen(self, fds: "list[int]", places: "list[Place]") -> None:
        """Accept connections, of each socket to the place at the same index."""
        self._pause()
        for fd, place in zip(fds, places, strict=True):
            listener = socket.socket(fileno=fd)
            listener.setblocking(False)
            self._listeners[listener] = place
        self._resume()

    def close(self) -> None:
        """The box has ended."""
        self._is_closed = True
        self._pause()
        for listener in self._listeners:
            listener.close()
        for pair in tuple(self._pairs):
            pair.abort()

    def _pause(self) -> None:
        if self._is_listening:
            self._is_listening = False
            for listener in self._listeners:
                asyncio.get_running_loop().remove_reader(listener)

    def _resume(self) -> None:
        if not (self._is_listening or self._is_closed or len(self._pairs) >= MOST_CONNECTIONS):
            self._is_listening = True
            for listener in self._listeners:
                asyncio.get_running_loop().add_reader(listener, self._accept, listener)

    def _accept(self, listener: socket.socket) -> None:
        try:
            inner, _ = listener.accept()
        except (BlockingIOError, ConnectionAbortedError, InterruptedError):
            return
        except OSError:  # no descriptor is left
            self._pause()
            asyncio.get_running_loop().call_later(_SHORT_OF_DESCRIPTORS_S, self._resume)
            return
        pair = Pair(inner, self._listeners[listener], self)
        self._pairs.add(pair)
        pair.start()
        if len(self._pairs) >= MOST_CONNECTIONS:
            self._pause()

    def ended(self, pair: "Pair") -> None:
        """A connection has ended, at both ends."""
        self._pairs.discard(pair)
        self._resume()

    def unreachable(self, place: Place, why: str) -> None:
        """Have the server log it, not once for each attempt."""
        now_s = time.monotonic()
        if now_s >= self._quiet_until_s.get((place, why), 0.0):
            self._quiet_until_s[place, why] = now_s + _QUIET_S
            host, port = place
            where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            control.send(self._connection, {"t": "unreachable", "n": self._n, "message": f"{where}: {why}"})


class Pair:
    """One connection: its end in the box, and the one to its place."""

    def __init__(self, inner: socket.socket, place: Place, box: Box) -> None:
        self._socket = inner
        self._place = place
        self._box = box
        self._inner, self._outer = End(self), End(self)
        self._inner.other, self._outer.other = self._outer, self._inner

    def start(self) -> None:
        """Connect to the place, then pass on."""
        self._task = asyncio.ensure_future(self._connect())

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        host, port = self._place
        connecting = loop.create_connection(lambda: self._outer, host, port, happy_eyeballs_delay=0.25)
        try:
            transport, _ = await asyncio.wait_for(connecting, _CONNECT_S)
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            self._socket.setblocking(False)
            await loop.connect_accepted_socket(lambda: self._inner, self._socket)
        except (OSError, asyncio.TimeoutError, UnicodeError) as error:
            self._refuse(error)
        except asyncio.CancelledError:
            self._reset()

    def _refuse(self, error: BaseException) -> None:
        self._reset()
        self._box.unreachable(self._place, _reason(error))

    def _reset(self) -> None:
        """Before the ends are joined."""
        reset(self._socket)
        self._socket.close()
        self._outer.abort()
        self._box.ended(self)

    def abort(self) -> None:
        """Reset both ends."""
        self._task.cancel()
        self._inner.abort()
        self._outer.abort()

    def lost(self) -> None:
        """One end is gone."""
        if self._inner.is_lost and self._outer.is_lost:
            self._box.ended(self)


class End(asyncio.Protocol):
    """One end of a connection: what it reads is for the other."""

    other: "End"

    def __init__(self, pair: Pair) -> None:
        self._pair = pair
        self._transport: asyncio.Transport | None = None
        self._early: list[bytes] = []
        """What it has read before there was another end."""
        self._has_ended = False
        self.is_lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The second end to be made gets what the first has read."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        other = self.other
        if other._transport is None:
            return
        for data in other._early:
            transport.write(data)
        other._early.clear()
        if other._has_ended:
            transport.write_eof()
        if other.is_lost:
            transport.close()
        other.resume()

    def resume(self) -> None:
        """Read on."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def pause(self) -> None:
        """Read no more for now."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        """Pass it on."""
        if self.other._transport is not None:
            self.other._transport.write(data)
        else:
            self._early.append(data)
            self.pause()

    def eof_received(self) -> bool:
        """It sends no more, but may still read."""
        self._has_ended = True
        other = self.other._transport
        if other is not None and not other.is_closing():
            with contextlib.suppress(OSError):  # it has just been reset, which `connection_lost` will tell
                other.write_eof()
        if self.other._has_ended:
            self.close()
            self.other.close()
        return True

    def pause_writing(self) -> None:
        """It takes no more now."""
        self.other.pause()

    def resume_writing(self) -> None:
        """It has taken most of it."""
        self.other.resume()

    def connection_lost(self, error: "Exception | None") -> None:
        """Reset the other end if this one was, else close it once everything is written."""
        self.is_lost = True
        if error is None:
            self.other.close()
        else:
            self.other.abort()
        self._pair.lost()

    def close(self) -> None:
        """Close it once everything is written."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Reset it."""
        if self._transport is not None and not self.is_lost:
            reset(self._transport.get_extra_info("socket"))
            self._transport.abort()


def reset(connection: Any) -> None:
    """Have the peer see a reset once this socket is closed, and not an orderly end."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


def _reason(error: BaseException) -> str:
    """Why a place cannot be reached, as programs usually say it."""
    if isinstance(error, OSError) and not isinstance(error, socket.gaierror) and error.errno:
        return os.strerror(error.errno)
    if isinstance(error, asyncio.TimeoutError):
        return f"no answer within {_CONNECT_S:g} s"
    return str(getattr(error, "strerror", None) or error)
