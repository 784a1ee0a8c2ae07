"""Requests for instances share messages if they are made in the same turn of the loop; each gets its own answer."""

import asyncio
import errno
import itertools
import os
from typing import Any

import pytest

from sandbox.control import Control, Message
from sandbox.errors import Ended
from sandbox.forks import Forks
from sandbox.guest._forklight import control as guest
from sandbox.guest._forklight.wire import MAX_FORKS
from tests.unit.sandbox.test_control import LONG_S, Line, open_line

pytestmark = pytest.mark.ordinary_user


def request(forks: Forks, control: Control, n: int, fds: tuple[int, ...] = ()) -> "asyncio.Task[Any]":
    return asyncio.ensure_future(control.request({"t": "fork", "n": n}, fds, limit_s=LONG_S, post=forks.post))


async def numbers(line: Line) -> list[int]:
    message, fds = await line.receive()
    guest.close(fds)
    assert message["t"] == "fork"
    return [each["n"] for each in message["each"]]


async def test_the_first_of_a_turn_leaves_at_once_and_the_others_together() -> None:
    async with open_line() as line:
        forks = Forks(line.control)
        requests = [request(forks, line.control, n) for n in range(2 * MAX_FORKS + 3)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        later = request(forks, line.control, 99)

        messages = [await numbers(line) for _ in range(4)]
        assert [message[0] for message in messages] == [0, 1, 1 + MAX_FORKS, 1 + 2 * MAX_FORKS]
        assert list(itertools.chain(*messages)) == list(range(2 * MAX_FORKS + 3))
        assert await numbers(line) == [99]
        line.control.close("enough")
        with pytest.raises(Ended):
            await later
        assert {type(one) for one in await asyncio.gather(*requests, return_exceptions=True)} == {Ended}


async def test_each_request_gets_its_own_answer_also_a_refusal() -> None:
    async with open_line() as line:
        forks = Forks(line.control)
        requests = [request(forks, line.control, n) for n in range(3)]
        assert await numbers(line) + await numbers(line) == [0, 1, 2]
        guest.send(line.peer, {"t": "error", "n": 1, "errno": errno.EAGAIN})
        guest.send(line.peer, {"t": "forked", "n": 2, "pid": 20})
        guest.send(line.peer, {"t": "forked", "n": 0, "pid": 10})

        assert [(await each)[0] for each in requests] == [
            Message(t="forked", n=0, pid=10),
            Message(t="error", n=1, errno=errno.EAGAIN),
            Message(t="forked", n=2, pid=20),
        ]


async def test_descriptors_stay_in_the_order_of_the_requests_without_those_of_callers_that_have_left() -> None:
    async with open_line() as line:
        forks = Forks(line.control)
        pipes = [os.pipe2(os.O_CLOEXEC) for _ in range(4)]
        requests = [request(forks, line.control, n, (write_end,)) for n, (_, write_end) in enumerate(pipes)]
        await asyncio.sleep(0)
        requests[2].cancel()
        assert await numbers(line) == [0]
        message, fds = await line.receive()

        assert [each["n"] for each in message["each"]] == [1, 3]
        for fd, (read_end, _) in zip(fds, (pipes[1], pipes[3]), strict=True):
            os.write(fd, b"x")
            assert os.read(read_end, 2) == b"x"
        line.control.close("enough")
        await asyncio.gather(*requests, return_exceptions=True)
        guest.close([*fds, *(end for ends in pipes for end in ends)])


async def test_a_channel_that_ends_before_the_turn_does_ends_all_requests() -> None:
    async with open_line() as line:
        forks = Forks(line.control)
        requests = [request(forks, line.control, n) for n in range(3)]
        await asyncio.sleep(0)
        line.control.close("it is over")

        assert [str(one) for one in await asyncio.gather(*requests, return_exceptions=True)] == ["it is over"] * 3
