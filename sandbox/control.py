"""The server's end of a control socket: requests with a time limit, unsolicited messages, descriptors.

The peer is not trusted: its messages are decoded into exact types, unexpected descriptors are closed, and any breach,
silence or end of file ends the channel. The owner of the channel then kills the process.
"""

import array
import asyncio
import os
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import Annotated

import anyio
import msgspec
from msgspec import Meta, Struct

from sandbox.bounds import Code, Kilobytes, LeftOut, Milliseconds, Modules, Number, Pid, Reason, Small
from sandbox.channels import close_all
from sandbox.errors import Ended
from sandbox.guest._forklight.wire import MAX_DESCRIPTORS, MAX_MESSAGE_BYTES, PART_CHARS

ExitCode = Annotated[int, Meta(ge=-255, le=255)]
"""Or minus the signal."""
Post = Callable[[dict[str, object], Sequence[int]], None]


class Message(Struct, kw_only=True):
    """Any message that a zygote or template may send. ARCHITECTURE.md §8 lists the fields of each."""

    t: Code
    n: Number | None = None
    pid: Pid = 0
    code: ExitCode | Code = 0
    errno: Annotated[int, Meta(ge=0, le=4095)] = 0
    version: tuple[Small, Small, Small] = (0, 0, 0)
    prefix: str = ""
    base_prefix: str = ""
    path: tuple[str, ...] = ()
    rss_kb: Kilobytes = 0
    ms: Milliseconds = 0.0
    cpu_ms: Annotated[float, Meta(ge=0, le=1e15)] = 0.0
    """On many processors it passes faster than time, so the bound is wide."""
    threads: Pid = 1
    thread_owner: str | None = None
    asynchronous: bool = False
    unsafe: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()
    held: tuple[str, ...] = ()
    generators: tuple[str, ...] = ()
    files: tuple[str, ...] | None = None
    rehearsed: Modules = ()
    left_out: LeftOut = {}
    spoilt: Reason = ""
    left: tuple[Pid, ...] = ()
    ended: tuple[tuple[Number, ExitCode], ...] = ()
    message: str = ""
    traceback: str = ""


_decode = msgspec.json.Decoder(Message).decode
_encode = msgspec.json.Encoder().encode
_Answer = tuple[Message, list[int]]


class Control:
    """One channel. `on_message` gets unsolicited messages; `on_end` is called once, with the reason."""

    def __init__(
        self, connection: socket.socket, on_message: Callable[[Message], None], on_end: Callable[[str], None]
    ) -> None:
        connection.setblocking(False)
        self._connection = connection
        self._on_message = on_message
        self._on_end = on_end
        self._waiting: dict[int, asyncio.Future[_Answer]] = {}
        self._outbox: deque[tuple[bytes, list[int]]] = deque()
        """Packets that the socket has not taken yet, with copies of the descriptors: the caller may close its own."""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(connection, self._readable)
        self.ended: str | None = None
        """Why the channel is closed, or None while it is open."""

    async def request(
        self, message: dict[str, object], fds: Sequence[int] = (), *, limit_s: float, post: Post | None = None
    ) -> _Answer:
        """Send a message with a new `n` and wait for its answer. The caller owns the answer's descriptors.

        Raises Ended if the channel ends; ends the channel if no answer comes within `limit_s`. For `fds` see `post`;
        another `post` may send the message later, unless `is_awaited` says that nobody waits any more.
        """
        n = message["n"]
        assert isinstance(n, int)
        answer: asyncio.Future[_Answer] = self._loop.create_future()
        self._waiting[n] = answer
        try:
            (post or self.post)(message, fds)
            with anyio.fail_after(limit_s):
                return await answer
        except TimeoutError:
            _close_unclaimed(answer)
            self.close(f"no answer to {message['t']!r} within {limit_s:g} s")
            raise Ended(self.ended) from None
        except asyncio.CancelledError:
            _close_unclaimed(answer)
            raise
        finally:
            self._waiting.pop(n, None)

    def is_awaited(self, n: object) -> bool:
        """Whether the request `n` still waits for its answer. If not, its descriptors may be closed."""
        answer = self._waiting.get(n) if isinstance(n, int) else None
        return answer is not None and not answer.done()

    def fail(self, n: object, error: Exception) -> None:
        """Have the request `n` raise `error`, if it still waits."""
        answer = self._waiting.get(n) if isinstance(n, int) else None
        if answer is not None and not answer.done():
            answer.set_exception(error)

    def post(self, message: dict[str, object], fds: Sequence[int] = ()) -> None:
        """Send without waiting for an answer. The caller keeps `fds` and may close them once this returns.

        Raises Ended if the channel is closed, OSError if `fds` cannot be copied for want of descriptors.
        """
        if self.ended is not None:
            raise Ended(self.ended)
        first, *others = _parts(_encode(message))
        if not self._outbox and not others and self._send(first, fds):  # nearly always: nothing to copy
            return
        if self.ended is not None:
            return
        self._outbox.append((first, _copies(fds)))
        self._outbox += [(part, []) for part in others]
        self._flush()

    def close(self, reason: str) -> None:
        """End the channel: the peer sees end of file, and every open request raises Ended. Idempotent."""
        if self.ended is not None:
            return
        self.ended = reason
        self._loop.remove_reader(self._connection)
        self._loop.remove_writer(self._connection)
        self._connection.close()
        while self._outbox:
            close_all(self._outbox.popleft()[1])
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(Ended(reason))
        self._on_end(reason)

    def _flush(self) -> None:
        while self._outbox:
            data, fds = self._outbox[0]
            if not self._send(data, fds):
                if self.ended is None:
                    self._loop.add_writer(self._connection, self._flush)
                return
            self._outbox.popleft()
            close_all(fds)
        self._loop.remove_writer(self._connection)

    def _send(self, data: bytes, fds: Sequence[int]) -> bool:
        """Returns whether the socket took the packet. If not, it is full, or the channel has ended."""
        try:
            socket.send_fds(self._connection, [data], fds)
        except BlockingIOError:
            return False
        except OSError as error:
            self.close(f"the process is gone ({error.strerror})")
            return False
        return True

    def _readable(self) -> None:
        try:
            data, fds, flags = _receive(self._connection)
        except BlockingIOError:
            return
        except OSError:
            data, fds, flags = b"", [], 0
        if not data:
            close_all(fds)
            self.close("the process closed its control socket")
            return
        try:
            message = _decode(data)
            if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
                raise msgspec.DecodeError("too long")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            close_all(fds)
            self.close(f"it sent an invalid control message: {error}")
            return
        self._hand_on(message, fds)

    def _hand_on(self, message: Message, fds: list[int]) -> None:
        # The `n` of `exited` is the number of a process, not of a request.
        answer = None if message.n is None or message.t == "exited" else self._waiting.pop(message.n, None)
        if answer is not None and not answer.done():
            answer.set_result((message, fds))
            return
        close_all(fds)
        self._on_message(message)


def _parts(data: bytes) -> list[bytes]:
    """The packets of a message: the message itself, or pieces of its text if it is too long for one packet."""
    if len(data) <= MAX_MESSAGE_BYTES:
        return [data]
    text = data.decode()
    starts = range(0, len(text), PART_CHARS)
    return [_encode({"part": text[at : at + PART_CHARS], "more": at != starts[-1]}) for at in starts]


def _copies(fds: Sequence[int]) -> list[int]:
    copies: list[int] = []
    try:
        copies.extend(map(os.dup, fds))
    except OSError:
        close_all(copies)
        raise
    return copies


def _receive(connection: socket.socket) -> tuple[bytes, list[int], int]:
    """Like socket.recv_fds, which ignores its flags (CPython issue 107898): its descriptors would survive an exec."""
    fds = array.array("i")
    room = socket.CMSG_LEN(MAX_DESCRIPTORS * fds.itemsize)
    data, ancillary, flags, _ = connection.recvmsg(MAX_MESSAGE_BYTES, room, socket.MSG_CMSG_CLOEXEC)
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
    return data, fds.tolist(), flags


def _close_unclaimed(answer: asyncio.Future[_Answer]) -> None:
    """The answer arrived, but its caller has left: close the descriptors that nobody owns now."""
    if answer.done() and not answer.cancelled() and answer.exception() is None:
        close_all(answer.result()[1])
