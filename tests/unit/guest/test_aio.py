"""The serve loop of an async handler with several calls open, against a server that the test plays."""

import asyncio
import contextlib
import contextvars
import threading
import time
from typing import Any

import pytest

from tests.kit.guest import Loop, make_head, serving


def invoke(i: int, number: object = 0) -> dict[str, Any]:
    return make_head(i=i, subject=str(number))


def cancel(i: int) -> dict[str, Any]:
    return {"t": "cancel", "i": i}


def numbers(loop: Loop, count: int) -> list[int]:
    return [int(loop.receive().header["i"]) for _ in range(count)]


async def sleeps(event: dict[str, Any]) -> str:
    await asyncio.sleep(float(event["subject"]))
    return str(event["subject"])


def test_calls_overlap_and_are_answered_as_they_end() -> None:
    with serving(sleeps) as loop:
        loop.send(invoke(1, 0.3), invoke(2, 0), invoke(3, 0.1))
        assert numbers(loop, 3) == [2, 3, 1]


def test_an_overdue_call_is_cancelled_alone() -> None:
    let_go, cleaned_up, begun = asyncio.Event(), [], threading.Barrier(2)

    async def handler(event: dict[str, Any]) -> str:
        try:
            if event["subject"] == "c":
                begun.wait(50)
            await let_go.wait()
        except asyncio.CancelledError:
            cleaned_up.append(event["subject"])
            raise
        return "fine"

    async def main(event: dict[str, Any]) -> str:
        if event["subject"] == "let go":
            let_go.set()
            return ""
        return await handler(event)

    with serving(main) as loop:
        loop.send(invoke(1, "a"), invoke(2, "b"), invoke(3, "c"))
        begun.wait(50)
        loop.send(cancel(2))
        late = loop.receive().header
        assert (late["i"], late["kind"], late["code"]) == (2, "timeout", "Timeout")
        assert "in handler" in late["traceback"]
        loop.send(invoke(4, "let go"))
        assert sorted(numbers(loop, 3)) == [1, 3, 4]
    assert cleaned_up == ["b"]


def test_a_call_that_is_overdue_before_it_begins_never_begins() -> None:
    begun = []

    async def handler(event: dict[str, Any]) -> None:
        begun.append(event["subject"])
        if event["subject"] == "blocks":
            time.sleep(0.1)  # noqa: ASYNC251 - the frames below arrive in one read

    with serving(handler) as loop:
        loop.send(invoke(1, "blocks"), invoke(2, "waits"), cancel(2))
        assert loop.receive().header["t"] == "ok"
        late = loop.receive().header
    assert (late["i"], late["kind"]) == (2, "timeout")
    assert late["traceback"] == "(the handler had not begun: another call blocked the event loop)"
    assert begun == ["blocks"]


def test_a_cancellation_that_comes_too_late_is_ignored() -> None:
    with serving(sleeps) as loop:
        loop.send(invoke(1), invoke(2))
        assert numbers(loop, 2) == [1, 2]
        loop.send(cancel(1), cancel(99), invoke(3))
        assert loop.receive().header["t"] == "ok"


@pytest.mark.parametrize("kind", ["chunk", "end", "credit", "reply"])
def test_frames_of_streams_that_no_call_asked_for_are_skipped(kind: str) -> None:
    with serving(sleeps) as loop:
        loop.send({"t": kind, "i": 1}, invoke(1, 0.05), {"t": kind, "i": 1}, {"t": kind, "i": 2})
        assert loop.receive().header["t"] == "ok"


def test_replies_that_the_server_does_not_read_wait_whole_and_in_order() -> None:
    sizes = [3_000_000, 10, 0, 100_000, 5]
    ended: list[int] = []

    async def handler(event: dict[str, Any]) -> bytes:
        number = int(event["subject"])
        ended.append(number)
        return bytes([number]) * sizes[number]

    with serving(handler) as loop:
        loop.send(*(invoke(number + 1, number) for number in range(len(sizes))))
        end = time.monotonic() + 20
        while len(ended) < len(sizes) and time.monotonic() < end:  # a large reply stops no other call
            time.sleep(0.001)
        assert len(ended) == len(sizes)
        for number, size in enumerate(sizes):
            answer = loop.receive()
            assert (answer.header["i"], answer.chunks) == (number + 1, [bytes([number]) * size])


def test_each_call_has_a_context_of_its_own() -> None:
    variable = contextvars.ContextVar("variable", default="unset")

    async def handler(event: dict[str, Any]) -> str:
        before = variable.get()
        variable.set(event["subject"])
        await asyncio.sleep(0.01)
        return f"{before} {variable.get()}"

    with serving(handler) as loop:
        loop.send(*(invoke(i, i) for i in range(1, 4)))
        answers = [loop.receive() for _ in range(3)]
    assert [answer.chunks[0].decode() for answer in answers] == ["unset 1", "unset 2", "unset 3"]


def test_what_a_handler_left_running_is_cancelled_at_the_end() -> None:
    cancelled, kept = [], []

    async def waits() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        cancelled.append(True)

    async def handler(event: dict[str, Any]) -> None:
        kept.append(asyncio.create_task(waits()))
        await asyncio.sleep(0)

    with serving(handler) as loop:
        loop.send(invoke(1))
        loop.receive()
    assert cancelled == [True]
