"""A connection and its task under every interleaving: data, EOF, reset, stalling, drain, deadlines, answers.

The server, the connections and the tasks are real; only the transport is in memory. After each event the loop has to
come to rest, so no task may spin, and the requests served and answered are compared with a simple model.
"""

import asyncio
import re
from asyncio import AbstractEventLoop, Future
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from hypothesis.strategies import booleans, integers, just, lists, one_of, sampled_from

from bus.event import Event
from bus.outcome import Ok, Outcome
from tests.kit.http_server import running
from tests.kit.http_wire import Wire, settle
from triggers.http import HttpSettings, Route
from triggers.http.socket.connection import Connection
from triggers.http.socket.connections import Connections

pytestmark = pytest.mark.any_user

LARGE = 100_000
"""More than a transport buffers before it pauses writing."""

GOOD = b"GET /f HTTP/1.1\r\nHost: h\r\n\r\n"
TIMED = b"GET /timed HTTP/1.1\r\nHost: h\r\n\r\n"
"""Waits in the connection's task, because its route has a timeout."""
BODY = b"POST /f HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello"
LAST = b"GET /f HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
CHUNKED = b"POST /f HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n"
TOO_LARGE = b"POST /f HTTP/1.1\r\nHost: h\r\nContent-Length: 50\r\n\r\n" + b"x" * 50
NO_ROUTE = b"GET /none HTTP/1.1\r\nHost: h\r\n\r\n"
BAD = b"BREW\r\n\r\n"
BAD_CHUNK = b"POST /f HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"

RUNS = {GOOD, TIMED, BODY, LAST, CHUNKED}
ANSWERS = dict.fromkeys(sorted(RUNS), 200) | {TOO_LARGE: 413, NO_ROUTE: 404, BAD: 400, BAD_CHUNK: 400}
ENDS = {LAST, CHUNKED, TOO_LARGE, BAD, BAD_CHUNK}

ENDINGS = ("reset", "reset unread", "end", "deadline", "retire", "cut")

_STATUS = re.compile(rb"HTTP/1\.1 ([0-9]{3}) ")


class Interleavings(RuleBasedStateMachine):
    """One client after the other. `sent` has whole requests; `rest` is the part of the last one not sent yet."""

    def __init__(self) -> None:
        super().__init__()
        self.loop: AbstractEventLoop = asyncio.new_event_loop()
        self.stop = asyncio.Event()
        self.calls: list[Future[Outcome]] = []
        self.running = self.loop.create_task(self.run())
        self.do()
        self.do(self.connects)

    def do(self, *happens: Callable[[], None]) -> None:
        """Do all of it in one turn of the loop, which then has to come to rest."""

        async def happen() -> None:
            for each in happens:
                each()
            await settle()

        self.loop.run_until_complete(asyncio.wait_for(happen(), 10))

    async def run(self) -> None:
        async def handle(event: Event) -> Outcome:
            self.calls.append(self.loop.create_future())
            return await self.calls[-1]

        hour = HttpSettings(
            listen="127.0.0.1:0",
            header_timeout_s=3600,
            body_timeout_s=3600,
            idle_timeout_s=3600,
            write_timeout_s=3600,
            half_closed_timeout_s=3600,
        )
        routes = (
            Route(function="f", path="/f", max_body_bytes=10),
            Route(function="f", path="/timed", timeout_s=3600),
        )
        async with running(handle, routes, hour) as self.house:
            await self.stop.wait()

    @property
    def connections(self) -> "Connections[Connection]":
        return self.house.server._listener.connections

    def connects(self) -> None:
        self.connections.draining = False
        self.calls.clear()
        self.house.functions.events.clear()
        self.sent: list[bytes] = []
        self.rest = b""
        self.is_over = False
        self.wire = Wire(self.loop, self.house.server._listener.connect())

    @precondition(lambda self: self.wire.is_lost)
    @rule()
    def another_client_connects(self) -> None:
        self.do(self.connects)

    @precondition(lambda self: not self.rest)
    @rule(requests=lists(sampled_from([*ANSWERS]), min_size=1, max_size=3), cut=one_of(just(1000), integers(1, 200)))
    def client_sends(self, requests: list[bytes], cut: int) -> None:
        data = b"".join(requests)
        self.sent += requests
        self.rest = data[cut:]
        self.do(lambda: self.wire.client_sends(data[:cut]))

    @precondition(lambda self: not self.rest)
    @rule(requests=lists(sampled_from([*ANSWERS]), min_size=1, max_size=3), size=integers(1, 100))
    def client_sends_in_segments(self, requests: list[bytes], size: int) -> None:
        """All segments in one turn of the loop, in which the running functions answer too."""
        data = b"".join(requests)
        self.sent += requests
        segments = [data[at : at + size] for at in range(0, len(data), size)]
        self.do(lambda: self.answer(Ok(body=b"abc")), *(partial(self.wire.client_sends, one) for one in segments))

    @precondition(lambda self: self.rest)
    @rule(cut=integers(1, 200))
    def client_goes_on(self, cut: int) -> None:
        data, self.rest = self.rest[:cut], self.rest[cut:]
        self.do(lambda: self.wire.client_sends(data))

    @rule(large=sampled_from([False, False, True]))
    def function_answers(self, large: bool) -> None:
        self.do(lambda: self.answer(Ok(body=bytes(LARGE if large else 3))))

    @rule()
    def client_stalls_or_reads(self) -> None:
        if self.wire.stalled:
            self.do(self.wire.client_reads)
        else:
            self.wire.stalled = True

    @precondition(lambda self: not self.is_over)
    @rule(how=sampled_from(ENDINGS), data=sampled_from([*ANSWERS, b""]), answered=booleans())
    def something_ends_it(self, how: str, data: bytes, answered: bool) -> None:
        """In one turn of the loop with an answer and received bytes: the task sees all of it at once."""
        self.is_over = True
        data = b"" if self.rest else data
        self.sent += [data] if data else []
        self.do(
            lambda: self.answer(Ok(body=b"abc")) if answered else None,
            lambda: self.wire.client_sends(data) if data else None,
            partial(self.end, how),
        )

    def answer(self, outcome: Outcome) -> None:
        for call in self.calls:
            if not call.done():
                call.set_result(outcome)

    def end(self, how: str) -> None:
        if how == "end":
            self.wire.client_ends()
        elif how == "deadline":
            for connection in self.connections._all():
                connection.check_deadline(self.connections.now_s() + 7200)
        elif how == "retire":
            self.connections.draining = True
            self.connections.retire()
        elif how == "cut":
            self.connections.cut()
        else:
            self.wire.client_resets(unread=how == "reset unread")

    def expected(self) -> tuple[list[int], int]:
        """Return the statuses if nothing ends the connection early, and how many requests may run."""
        statuses: list[int] = []
        runs = 0
        for request in self.sent:
            statuses.append(ANSWERS[request])
            runs += request in RUNS
            if request in ENDS:
                break
        return statuses, runs

    @invariant()
    def every_answer_has_a_request(self) -> None:
        given = [int(status) for status in _STATUS.findall(self.wire.taken)]
        statuses, runs = self.expected()
        if self.is_over and given and given[-1] in (408, 503):
            given.pop()
        assert given == statuses[: len(given)]
        assert len(self.house.functions.events) <= runs

    @invariant()
    def every_complete_request_is_answered(self) -> None:
        """Unless something ends the connection early, every complete request is answered once its function has."""
        if self.is_over or self.rest or self.wire.stalled or not all(call.done() for call in self.calls):
            return
        given = [int(status) for status in _STATUS.findall(self.wire.taken)]
        assert given == self.expected()[0]

    @invariant()
    def a_lost_connection_holds_no_memory(self) -> None:
        assert self.wire.wrong == []
        if self.wire.is_lost:
            assert len(self.connections) == 0
            assert self.connections.bodies.used_bytes == self.connections.unread.used_bytes == 0

    def teardown(self) -> None:
        self.do(self.wire.client_reads, self.stop.set)
        self.loop.run_until_complete(asyncio.wait_for(self.running, 10))
        assert self.wire.is_lost
        self.loop.close()


Interleavings.TestCase.settings = settings(max_examples=20, stateful_step_count=40, deadline=None)
TestInterleavings = pytest.mark.invariant("I29")(Interleavings.TestCase)


@pytest.mark.parametrize("how", ["reset", "reset unread", "end"])
@pytest.mark.parametrize("last", [LAST, CHUNKED, TOO_LARGE, BAD, BAD_CHUNK])
async def test_requests_after_the_last_one_never_run(last: bytes, how: str) -> None:
    """Not even if the client leaves in the turn of the loop in which the last request is answered."""
    answer: Future[Outcome] = asyncio.get_running_loop().create_future()

    async def handle(event: Event) -> Outcome:
        return await answer

    async with running(handle, (Route(function="f", path="/f", max_body_bytes=10),)) as house:
        connection = house.server._listener.connect()
        assert repr(connection) == "<Connection idle, client a unix socket, no request, not made yet>"
        wire = Wire(asyncio.get_running_loop(), connection)
        assert repr(connection).startswith("<Connection idle, client 127.0.0.1, no request, overdue in ")
        wire.client_sends(last + GOOD + GOOD)
        if last in RUNS:
            await settle()
            [event] = house.functions.events
            assert repr(connection) == f"<Connection busy, client 127.0.0.1, request {event.id}, no deadline>"
            answer.set_result(Ok())
        if how == "end":
            wire.client_ends()
        else:
            wire.client_resets(unread=how == "reset unread")
        await settle()
        assert wire.is_lost
        assert repr(connection).startswith("<Connection gone, ")
        assert len(house.functions.events) == (last in RUNS)
