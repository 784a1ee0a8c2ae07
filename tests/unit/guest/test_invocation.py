"""The reply to an invoke frame, for every way in which a handler can end."""

import asyncio
import contextlib
import functools
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sandbox.guest._forklight.context import Context
from sandbox.guest._forklight.invocation import arun, run
from tests.kit.guest import Answer, call, decoded, make_function, make_head, never

OK_KEYS = {"t", "i", "status", "type", "length"}
"""The keys of a result without headers and outputs, which the server takes to be empty."""
FAIL_KEYS = {"t", "i", "kind", "code", "message", "traceback", "retry_after_s"}
FIGURES = {"started_ns", "finished_ns", "cpu_ns", "peak_rss_kb"}


def test_a_result() -> None:
    earliest = time.monotonic_ns()
    reply = call(lambda event: {"got": event["data"]}, b"[1]", datacontenttype="application/json")
    header = reply.header
    assert header.keys() == OK_KEYS | FIGURES
    assert (header["t"], header["i"], header["status"], header["type"]) == ("ok", 7, 200, "application/json")
    assert header["length"] == 11
    assert reply.chunks == [b'{"got":[1]}']
    assert earliest <= header["started_ns"] <= header["finished_ns"] <= time.monotonic_ns()
    assert header["cpu_ns"] >= 0
    assert header["peak_rss_kb"] > 1000


def test_the_peak_memory_follows_a_handler_that_takes_more() -> None:
    function = make_function(lambda event: str(len(bytearray(event["data"]))))
    for size in (b"1", b"100000000", b"1"):
        told_kb = decoded(run(function, make_head(decode="json"), size, never)).header["peak_rss_kb"]
        peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        assert peak_kb - 8 * 1024 <= told_kb <= peak_kb


def test_the_cpu_time_counts_the_handlers_threads() -> None:
    def burn(until_ns: int) -> None:
        start_ns = time.thread_time_ns()
        while time.thread_time_ns() - start_ns < until_ns:
            pass

    def handler(event: Any) -> None:
        thread = threading.Thread(target=burn, args=(20_000_000,))
        thread.start()
        thread.join()

    assert call(handler).header["cpu_ns"] >= 20_000_000


def test_a_reply_is_json() -> None:
    def handler(event: Any, context: Context) -> Any:
        context.send("q", "x", headers={"a": "b"})
        return "made", 201, {"set-cookie": ["a=1", "b=2"]}

    header = call(handler).header
    assert header["headers"] == [["set-cookie", "a=1"], ["set-cookie", "b=2"]]
    assert header["out"] == [["send", "q", "text/plain; charset=utf-8", 1, 0.0, None, {"a": "b"}]]


class Unusual(BaseException):
    pass


class Rejected(Exception):
    """An author's own exception with the name of one of ours."""


class ArrayMemoryError(MemoryError):
    pass


RAISED = [
    (ValueError("no such name"), "ValueError", "no such name"),
    (KeyError("x"), "KeyError", "'x'"),
    (SystemExit(3), "SystemExit", "3"),
    (KeyboardInterrupt(), "KeyboardInterrupt", ""),
    (GeneratorExit(), "GeneratorExit", ""),
    (Unusual("any"), "Unusual", "any"),
    (Rejected("mine"), f"{__name__}.Rejected", "mine"),
    (type("Unroutable", (Exception,), {"__module__": "a"})("mine"), "a.Unroutable", "mine"),
    (asyncio.CancelledError(), "CancelledError", ""),
    (type("\x1b[2J\u202e\n", (Exception,), {})("x"), r"\x1b[2J\u202e\n", "x"),
    (type("E" * 5000, (Exception,), {})("x"), "E" * 200, "x"),
]


def raiser(error: BaseException) -> Callable[[Any], None]:
    def handler(event: Any) -> None:
        raise error

    return handler


@pytest.mark.parametrize(("error", "code", "message"), RAISED)
def test_whatever_is_raised_becomes_a_failure(error: BaseException, code: str, message: str) -> None:
    header = call(raiser(error)).header
    assert header.keys() == FAIL_KEYS | FIGURES
    assert (header["t"], header["i"], header["kind"]) == ("fail", 7, "error")
    assert (header["code"], header["message"], header["retry_after_s"]) == (code, message, None)
    assert header["traceback"].count('  File "') == 1
    assert "raise error" in header["traceback"]


@pytest.mark.parametrize("error", [MemoryError(), ArrayMemoryError("3 GiB")])
def test_out_of_memory(error: BaseException) -> None:
    header = call(raiser(error)).header
    assert (header["code"], header["message"]) == ("MemoryError", "the function ran out of memory")
    assert header["traceback"].endswith("in handler")


def test_real_memory_exhaustion_is_survived() -> None:
    reply = call(lambda event: bytes(sys.maxsize - 100))
    assert reply.header["code"] == "MemoryError"


def test_an_undecodable_body_never_reaches_the_handler() -> None:
    reached: list[Any] = []
    header = call(reached.append, b"{", datacontenttype="application/json").header
    assert (header["code"], header["traceback"]) == ("Undecodable", "")
    assert "line 1 column 2" in header["message"]
    assert reached == []


def test_an_unencodable_result() -> None:
    header = call(lambda event: {"when": object()}).header
    assert (header["code"], header["traceback"]) == ("Unencodable", "")
    assert (
        header["message"] == "$.when: an object of type object cannot be encoded: make it a dict, list, text or number"
    )


def test_result_and_outputs_share_one_limit() -> None:
    def handler(event: Any, context: Context) -> str:
        context.send("q", "x" * 400)
        return "y" * int(event["data"])

    function = make_function(handler, max_result=1000)
    assert decoded(run(function, make_head(decode="json"), b"600", never)).header["t"] == "ok"
    header = decoded(run(function, make_head(decode="json"), b"601", never)).header
    assert header["code"] == "ResultTooLarge"
    assert header["message"] == (
        "a result of 601 bytes and outputs of 400 bytes, but max_result allows 1000 bytes together"
    )


class Deadline:
    """The server's SIGTERM, handled as in the serve loop of a sync handler. The handlers below send it themselves."""

    def __init__(self) -> None:
        self.passed = False

    def expired(self) -> bool:
        return self.passed

    def on_signal(self, _signal: int, _frame: Any) -> None:
        self.passed = True
        raise SystemExit("the deadline has passed")


@pytest.fixture
def deadline() -> Iterator[Deadline]:
    deadline = Deadline()
    before = signal.signal(signal.SIGTERM, deadline.on_signal)
    yield deadline
    signal.signal(signal.SIGTERM, before)


def strike() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def run_late(handler: Callable[..., Any], deadline: Deadline) -> Answer:
    return decoded(run(make_function(handler), make_head(timeout_s=1200.0), b"", deadline.expired))


def assert_timeout(reply: Answer) -> str:
    header = reply.header
    assert header.keys() == FAIL_KEYS | FIGURES
    assert (header["kind"], header["code"], header["message"]) == (
        "timeout",
        "Timeout",
        "the handler had no result after 1200 s",
    )
    assert reply.chunks == []
    return str(header["traceback"])


def test_the_deadline_shows_where_the_handler_was(deadline: Deadline) -> None:
    def handler(event: Any, context: Context) -> None:
        context.send("q", "dropped")
        strike()

    traceback = assert_timeout(run_late(handler, deadline))
    assert "strike()" in traceback
    assert "in handler" in traceback


def test_what_the_handler_makes_of_the_deadline_changes_nothing(deadline: Deadline) -> None:
    def swallows(event: Any) -> str:
        with contextlib.suppress(SystemExit):
            strike()
        return "fine"

    def raises(event: Any, context: Context) -> None:
        try:
            strike()
        finally:
            context.retry()

    def fails(event: Any) -> None:
        try:
            strike()
        finally:
            raise ValueError("in finally")

    assert assert_timeout(run_late(swallows, deadline)) == ""
    assert assert_timeout(run_late(raises, deadline)) == ""
    assert "ValueError: in finally" in assert_timeout(run_late(fails, deadline))


class LateStr(Exception):
    def __str__(self) -> str:
        strike()
        return "late"


class LateModel:
    def model_dump(self) -> None:
        strike()


class LateStream:
    """A standard output that is slow to flush, so that the deadline passes in our own code."""

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        if not getattr(self, "struck", False):
            self.struck = True
            strike()


def test_the_deadline_may_come_while_the_reply_is_made(deadline: Deadline, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "LateStr" in assert_timeout(run_late(raiser(LateStr()), deadline))
    deadline.passed = False
    assert "strike()" in assert_timeout(run_late(lambda event: LateModel(), deadline))
    for handler in (lambda event: "fine", raiser(ValueError("x"))):
        deadline.passed = False
        monkeypatch.setattr(sys, "stdout", LateStream())
        assert "flush" in assert_timeout(run_late(handler, deadline))


async def test_an_async_handler() -> None:
    async def handler(event: Any, context: Context) -> Any:
        await asyncio.sleep(0)
        return {"id": context.invocation_id}

    reply = decoded(await arun(make_function(handler), make_head(), b"", never))
    assert (reply.header["t"], reply.chunks) == ("ok", [b'{"id":"e1"}'])


@pytest.mark.parametrize(("error", "code", "message"), RAISED)
async def test_whatever_an_async_handler_raises(error: BaseException, code: str, message: str) -> None:
    async def handler(event: Any) -> None:
        raise error

    header = decoded(await arun(make_function(handler), make_head(), b"", never)).header
    assert (header["kind"], header["code"], header["message"]) == ("error", code, message)


async def test_an_async_handler_never_sees_what_cannot_be_decoded() -> None:
    async def handler(event: Any) -> None: ...

    header = decoded(await arun(make_function(handler), make_head(decode="json"), b"{", never)).header
    assert header["code"] == "Undecodable"


async def cancelled_at_the_deadline(handler: Callable[..., Any], waiting: asyncio.Event) -> Answer:
    """Cancel the handler's task as the serve loop does, once the handler is waiting."""
    deadline = Deadline()
    task = asyncio.create_task(arun(make_function(handler), make_head(timeout_s=1200.0), b"", deadline.expired))
    await waiting.wait()
    deadline.passed = True
    task.cancel()
    return decoded(await task)


async def test_a_cancelled_handler_shows_where_it_was() -> None:
    waiting = asyncio.Event()
    cleaned_up = []

    async def inner() -> None:
        waiting.set()
        await asyncio.Event().wait()

    async def handler(event: Any) -> None:
        try:
            await inner()
        finally:
            cleaned_up.append(True)

    traceback = assert_timeout(await cancelled_at_the_deadline(handler, waiting))
    assert "in handler" in traceback
    assert "in inner" in traceback
    assert cleaned_up == [True]


async def test_a_handler_that_swallows_its_cancellation_is_late_all_the_same() -> None:
    waiting = asyncio.Event()

    async def handler(event: Any) -> str:
        waiting.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return "fine"

    assert assert_timeout(await cancelled_at_the_deadline(handler, waiting)) == ""


async def test_a_cancellation_before_the_deadline_is_an_error() -> None:
    async def handler(event: Any) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.Event().wait()

    header = decoded(await arun(make_function(handler), make_head(), b"", never)).header
    assert (header["kind"], header["code"]) == ("error", "CancelledError")


async def test_retry_inside_a_task_group_is_a_retry() -> None:
    async def step(context: Context) -> None:
        context.retry(after=5)

    async def handler(event: Any, context: Context) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(step(context))

    header = decoded(await arun(make_function(handler), make_head(), b"", never)).header
    assert (header["code"], header["retry_after_s"]) == ("Retry", 5.0)


async def test_other_errors_in_a_task_group_stay_a_group() -> None:
    async def step() -> None:
        raise ValueError("in a task")

    async def handler(event: Any, context: Context) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(step())

    header = decoded(await arun(make_function(handler), make_head(), b"", never)).header
    assert header["code"] == "ExceptionGroup"
    assert "ValueError: in a task" in header["traceback"]


def test_an_async_handler_behind_a_decorator_that_is_not_async_is_run() -> None:
    async def handler(event: Any) -> str:
        await asyncio.sleep(0)
        return f"{event['id']} {id(asyncio.get_running_loop())}"

    @functools.wraps(handler)
    def wrapper(*args: Any) -> Any:
        return handler(*args)

    first, second = call(wrapper, id="e"), call(wrapper, id="e")
    assert (first.header["t"], first.chunks[0][:2]) == ("ok", b"e ")
    assert first.chunks == second.chunks, "one loop, so that what is bound to it can be used again"
