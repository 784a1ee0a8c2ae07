"""A real control socket between server and guest: nothing is lost or leaked, no forgery passes, and nothing blocks."""

import asyncio
import contextlib
import os
import re
import socket
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from sandbox.control import Control, Message
from sandbox.errors import Ended
from sandbox.guest._forklight import control as guest
from sandbox.guest._forklight.wire import MAX_DESCRIPTORS, MAX_MESSAGE_BYTES
from tests.kit.frames import open_fds

pytestmark = pytest.mark.ordinary_user

LONG_S = 50.0
Received = tuple[dict[str, Any], list[int]]


class Line:
    """A channel, the guest's end of it, and everything that the channel has reported."""

    def __init__(self, connection: socket.socket, peer: socket.socket) -> None:
        self.ours = connection
        self.peer = peer
        self.messages: list[Message] = []
        self.reasons: list[str] = []
        self.reported = asyncio.Event()
        self.control = Control(connection, self._on_message, self._on_end)

    def _on_message(self, message: Message) -> None:
        self.messages.append(message)
        self.reported.set()

    def _on_end(self, reason: str) -> None:
        self.reasons.append(reason)
        self.reported.set()

    async def receive(self) -> Received:
        """The next message at the guest's end, read with the guest's blocking call."""
        return await anyio.to_thread.run_sync(guest.receive, self.peer)

    def request(self, t: str = "fork", n: int = 1, fds: tuple[int, ...] = (), limit_s: float = LONG_S) -> Any:
        """Start a request as a task."""
        return asyncio.ensure_future(self.control.request({"t": t, "n": n}, fds, limit_s=limit_s))


@contextlib.asynccontextmanager
async def open_line() -> AsyncIterator[Line]:
    """Both ends, closed at the end of the block, which must leave no descriptor open."""
    await anyio.to_thread.run_sync(int)  # the first use of a thread opens descriptors of its own
    before = open_fds()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        theirs.settimeout(LONG_S)
        line = Line(ours, theirs)
        yield line
        line.control.close("the test is over")
    assert open_fds() == before


def make_pipe() -> tuple[int, int]:
    return os.pipe2(os.O_CLOEXEC)


def is_closed_elsewhere(read_end: int) -> bool:
    """Whether no copy of the write end is left open. Closes the read end."""
    os.set_blocking(read_end, False)
    try:
        return os.read(read_end, 1) == b""
    except BlockingIOError:
        return False
    finally:
        os.close(read_end)


async def test_a_request_gets_the_answer_with_its_number() -> None:
    async with open_line() as line:
        requests = [line.request("fork", n) for n in (1, 2)]
        received = [await line.receive() for _ in requests]
        assert received == [({"t": "fork", "n": 1}, []), ({"t": "fork", "n": 2}, [])]
        for n in (2, 1):
            guest.send(line.peer, {"t": "forked", "n": n, "pid": 100 + n})
        answers = [await request for request in requests]
        assert [message.pid for message, _ in answers] == [101, 102]
        assert not line.messages
        assert not line.reasons


async def test_what_nobody_asked_for_is_handed_to_the_owner() -> None:
    async with open_line() as line:
        guest.send(line.peer, {"t": "exited", "n": 7, "code": -9, "pid": 1})
        await line.reported.wait()
        assert line.messages == [Message(t="exited", n=7, code=-9, pid=1)]


async def test_an_exit_never_answers_the_request_of_the_same_number() -> None:
    async with open_line() as line:
        request = line.request(n=7)
        await line.receive()
        guest.send(line.peer, {"t": "exited", "n": 7, "code": 0})
        guest.send(line.peer, {"t": "forked", "n": 7})
        assert (await request)[0].t == "forked"
        assert [message.t for message in line.messages] == ["exited"]


@pytest.mark.parametrize("text", ["x", "é", "語", "😀", '"', "\\", "\0", '\n\\"😀'], ids=ascii)
@pytest.mark.parametrize("length", [MAX_MESSAGE_BYTES // 4, 4 * MAX_MESSAGE_BYTES])
async def test_a_long_message_arrives_whole(text: str, length: int) -> None:
    async with open_line() as line:
        line.control.post({"t": "load", "env": {"A": text * length}})
        line.control.post({"t": "stop"})
        assert await line.receive() == ({"t": "load", "env": {"A": text * length}}, [])
        assert await line.receive() == ({"t": "stop"}, [])


async def test_more_than_the_socket_holds_is_sent_as_the_guest_takes_it() -> None:
    async with open_line() as line:
        for n in range(2000):
            line.control.post({"t": "fork", "n": n, "env": "x" * 1000})
        assert [(await line.receive())[0]["n"] for _ in range(2000)] == list(range(2000))


@pytest.mark.parametrize("filling", ["", "x" * 3 * MAX_MESSAGE_BYTES])
async def test_descriptors_go_with_a_message_of_any_length(filling: str) -> None:
    async with open_line() as line:
        read_end, write_end = make_pipe()
        line.control.post({"t": "template", "n": 1, "env": filling}, (write_end,))
        os.close(write_end)
        message, (sent,) = await line.receive()
        assert message["t"] == "template"
        assert not os.get_inheritable(sent)
        os.close(sent)
        assert is_closed_elsewhere(read_end)


async def test_descriptors_that_wait_for_the_guest_may_be_closed_meanwhile() -> None:
    """Otherwise their numbers could name something else when the message is sent."""
    async with open_line() as line:
        line.ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        for n in range(100):
            line.control.post({"t": "fork", "n": n, "env": "x" * 1000})
        read_end, write_end = make_pipe()
        os.write(write_end, b"it")
        request = line.request("fork", 100, (read_end,))
        await anyio.lowlevel.checkpoint()
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        os.close(read_end)
        other = os.open(os.devnull, os.O_RDONLY)
        assert other == read_end
        received = [await line.receive() for _ in range(101)]
        os.close(other)
        [sent] = received[-1][1]
        assert os.read(sent, 2) == b"it"
        os.close(sent)
        os.close(write_end)


async def test_the_descriptors_of_an_answer_are_close_on_exec_and_the_caller_s() -> None:
    async with open_line() as line:
        request = line.request()
        await line.receive()
        read_end, write_end = make_pipe()
        guest.send(line.peer, {"t": "forked", "n": 1}, (write_end,))
        guest.close((write_end,))
        _, (answered,) = await request
        assert not os.get_inheritable(answered)
        os.write(answered, b"x")
        assert os.read(read_end, 1) == b"x"
        os.close(answered)
        assert is_closed_elsewhere(read_end)


async def test_descriptors_nobody_asked_for_are_closed() -> None:
    async with open_line() as line:
        read_end, write_end = make_pipe()
        guest.send(line.peer, {"t": "exited", "n": 1}, (write_end, write_end))
        os.close(write_end)
        await line.reported.wait()
        assert is_closed_elsewhere(read_end)


GARBAGE = [b"nonsense", b"\xff", b"[]", b"{}", b'{"t":1}', b'{"t":"a","pid":"1"}', b'{"t":"a","code":300}']
DEEP = b'{"t":"a","z":' + b"[" * 60_000
LONG = b'{"t":"a","message":"' + b"x" * MAX_MESSAGE_BYTES + b'"}'


@pytest.mark.parametrize("data", [*GARBAGE, DEEP, LONG], ids=lambda data: repr(data[:20]))
async def test_garbage_ends_the_channel(data: bytes) -> None:
    async with open_line() as line:
        request = line.request()
        await line.receive()
        read_end, write_end = make_pipe()
        socket.send_fds(line.peer, [data], [write_end])
        os.close(write_end)
        with pytest.raises(Ended, match="an invalid control message"):
            await request
        assert is_closed_elsewhere(read_end)
        assert len(line.reasons) == 1


async def test_more_descriptors_than_a_message_may_have_end_the_channel() -> None:
    async with open_line() as line:
        read_end, write_end = make_pipe()
        guest.send(line.peer, {"t": "exited"}, (write_end,) * (MAX_DESCRIPTORS + 1))
        os.close(write_end)
        await line.reported.wait()
        assert len(line.reasons) == 1
        assert is_closed_elsewhere(read_end)


async def test_an_empty_message_is_an_end_of_file_and_its_descriptors_are_closed() -> None:
    async with open_line() as line:
        read_end, write_end = make_pipe()
        socket.send_fds(line.peer, [b""], [write_end])
        os.close(write_end)
        await line.reported.wait()
        assert line.reasons == ["the process closed its control socket"]
        assert is_closed_elsewhere(read_end)


async def test_no_answer_within_the_limit_ends_the_channel() -> None:
    async with open_line() as line:
        patient = line.request("sweep", 1)
        hasty = line.request("fork", 2, limit_s=0.01)
        for request in (hasty, patient):
            with pytest.raises(Ended, match=re.escape("no answer to 'fork' within 0.01 s")):
                await request
        assert line.reasons == ["no answer to 'fork' within 0.01 s"]
        assert [(await line.receive())[0]["n"] for _ in range(2)] == [1, 2]
        with pytest.raises(guest.Ended):
            await line.receive()


def close_peer(line: Line) -> None:
    line.peer.close()


def close_peer_unread(line: Line) -> None:
    """The peer dies with unread data, which the kernel reports differently."""
    line.control.post({"t": "unread"})
    line.peer.close()


@pytest.mark.parametrize("die", [close_peer, close_peer_unread])
async def test_the_guest_s_death_fails_all_waiting_requests(die: Callable[[Line], None]) -> None:
    async with open_line() as line:
        requests = [line.request("fork", n) for n in range(3)]
        for _ in requests:
            await line.receive()
        die(line)
        for request in requests:
            with pytest.raises(Ended, match="the process closed its control socket"):
                await request
        assert line.reasons == [line.control.ended] == ["the process closed its control socket"]
        with pytest.raises(Ended):
            line.control.post({"t": "stop"})
        with pytest.raises(Ended):
            await line.request()


async def test_a_message_to_a_guest_that_is_gone_ends_the_channel() -> None:
    async with open_line() as line:
        line.peer.close()
        with pytest.raises(Ended, match="the process is gone"):
            await line.control.request({"t": "fork", "n": 1}, limit_s=LONG_S)
        assert len(line.reasons) == 1


@pytest.mark.parametrize("answer_first", [True, False])
async def test_a_request_cancelled_as_its_answer_comes_leaks_no_descriptor(answer_first: bool) -> None:
    """The answer and the cancellation arrive in one turn of the loop, in either order."""
    async with open_line() as line:
        request = line.request()
        await line.receive()
        read_end, write_end = make_pipe()
        trigger, trigger_end = socket.socketpair()
        loop = asyncio.get_running_loop()
        loop.add_reader(trigger, partial(request.cancel))
        answer = partial(guest.send, line.peer, {"t": "forked", "n": 1}, (write_end,))
        cancel = partial(trigger_end.send, b"x")
        for act in (answer, cancel) if answer_first else (cancel, answer):
            act()
        os.close(write_end)
        with pytest.raises(asyncio.CancelledError):
            await request
        loop.remove_reader(trigger)
        trigger.close()
        trigger_end.close()
        assert is_closed_elsewhere(read_end)
        assert line.control.ended is None


async def test_closing_twice_says_so_once() -> None:
    async with open_line() as line:
        line.control.close("first")
        line.control.close("second")
        assert line.reasons == [line.control.ended] == ["first"]


async def test_closed_it_keeps_no_descriptor_that_was_still_to_be_sent() -> None:
    async with open_line() as line:
        line.ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        for n in range(100):
            line.control.post({"t": "fork", "n": n, "env": "x" * 1000})
        read_end, write_end = make_pipe()
        line.control.post({"t": "fork", "n": 100}, (write_end,))
        os.close(write_end)
        line.control.close("enough")
        assert is_closed_elsewhere(read_end)
