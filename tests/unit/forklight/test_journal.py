"""The journal: entries of lines and invocations, what is kept, what is dropped, and that no event waits for it."""

import asyncio
import contextlib
import io
import os
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from math import ceil
from typing import IO

import anyio
import anyio.to_thread
import pytest
from msgspec.structs import replace

from bus import Event, Failed, HttpSection, Ok, Outcome, QueueSection, TimerSection
from bus.invocation import HttpVerdict, Invocation, QueueVerdict
from bus.outcome import ExceptionName, StartKind, Timings
from bus.retry import Ack, Dead, Decision, Release, Retry
from forklight.observe import entries
from forklight.observe.entry import Entry, Selection, size_bytes
from forklight.observe.journal import BACKLOG_BYTES, Follower, Journal
from sandbox.log_lines import LogLine
from triggers.http.exchange import Exchange

EVENT = Event(source="/test", type="forklight.http", id="id-1", function="greet")
TIMINGS = Timings(accepted_ns=1_000_000, assigned_ns=3_000_000, started_ns=6_000_000, finished_ns=16_000_000)


@contextlib.asynccontextmanager
async def _running(journal: Journal) -> AsyncIterator[None]:
    """Run the journal inside the block; afterwards everything is written."""
    task = asyncio.create_task(journal.run())
    try:
        yield
    finally:
        await asyncio.sleep(0)  # it has begun
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def _render(entries: Sequence[Entry]) -> bytes:
    lines = [f"{entry.function}:{entry.text}\n" for entry in entries]
    return "".join(lines).encode(errors="backslashreplace")


def _journal(descriptor: int = -1, *, invocations: bool = True) -> Journal:
    return Journal(_render, descriptor, invocations=invocations)


def _line(text: str, function: str = "greet") -> LogLine:
    return LogLine(function=function, instance="greet-1", invocation="id-1", text=text)


def _answered(status: int, outcome: Outcome | None) -> Invocation:
    return Exchange("10.0.0.1", 0, id=EVENT.id, event=EVENT, outcome=outcome).ended(status, "")


def _settled(event: Event, outcome: Outcome | None, *decisions: Decision) -> Invocation:
    return Invocation(event, outcome, QueueVerdict(decisions))


def _lines(file: IO[bytes]) -> list[str]:
    file.seek(0)
    return file.read().decode().splitlines()


async def test_each_line_is_written_soon_not_only_at_the_end() -> None:
    reading, writing = os.pipe()
    journal = _journal(writing)
    async with _running(journal):
        with anyio.fail_after(20):
            for text in ("one", "two", "three"):
                journal.line(_line(text))
                assert await anyio.to_thread.run_sync(os.read, reading, 100) == f"greet:{text}\n".encode()
    os.close(reading)
    os.close(writing)


async def test_lines_are_written_in_order() -> None:
    with tempfile.TemporaryFile() as file:
        journal = _journal(file.fileno())
        async with _running(journal):
            for number in range(2500):
                journal.line(_line(str(number)))
        assert _lines(file) == [f"greet:{number}" for number in range(2500)]


async def test_what_is_no_utf8_is_written_all_the_same() -> None:
    with tempfile.TemporaryFile() as file:
        journal = _journal(file.fileno())
        async with _running(journal):
            journal.line(_line("\udc80"))
        assert _lines(file) == ["greet:\\udc80"]


async def test_a_reader_that_stalls_holds_up_nobody() -> None:
    """With a full pipe the loop continues, new lines are dropped and counted, and the rest is written later."""
    reading, writing = os.pipe()
    journal = _journal(writing)
    async with _running(journal):
        size = size_bytes(Entry(time=0.0, function="greet", text="x" * 50_000, invocation="id-1"))
        for _ in range(ceil(BACKLOG_BYTES / size) + 7):
            journal.line(_line("x" * 50_000))
        pipe = io.BufferedReader(io.FileIO(reading))
        assert await asyncio.to_thread(pipe.readline) == b"greet:" + b"x" * 50_000 + b"\n"
        assert await asyncio.to_thread(_until_dropped, pipe) == "7 lines dropped"
        pipe.close()
    os.close(writing)


def _until_dropped(pipe: IO[bytes]) -> str:
    return next(line for line in pipe if b"dropped" in line).decode().strip().removeprefix(":")


async def test_nobody_reads_any_more() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    journal = _journal(writing)
    async with _running(journal):
        journal.line(_line("x"))
    os.close(writing)
    assert [entry.text for entry in journal.latest(Selection(function="greet"))] == ["x"]


def test_an_outcome_is_one_entry() -> None:
    journal = _journal()
    journal.report(_answered(200, Ok(timings=TIMINGS, start="fork", instance="greet-1")))
    journal.report(_answered(200, Ok(timings=TIMINGS, start="warm", instance="greet-1")))
    failed = Failed(kind="crash", code="Signal", message="killed", traceback="at x", timings=TIMINGS, start="warm")
    journal.report(_answered(502, failed))
    journal.report(_answered(499, None))
    forked, warm, crashed, left = journal.latest(Selection(function="greet"))
    assert (forked.outcome, forked.status, forked.trigger, forked.invocation) == ("ok", 200, "http", "id-1")
    assert (forked.queue_ms, forked.start_ms, forked.run_ms) == (0.0, 5.0, 10.0)
    assert (warm.queue_ms, warm.start_ms, warm.run_ms) == (2.0, 3.0, 10.0)
    assert (crashed.outcome, crashed.text, crashed.traceback) == ("crash/Signal", "killed", "at x")
    assert (left.outcome, left.status, left.start) == ("left", 499, "")


def test_a_request_is_one_entry_whether_a_function_ran_or_not() -> None:
    journal = _journal()
    ran = Exchange("10.0.0.1", time.monotonic_ns(), id="id-1", method="GET", path="/greet")
    ran.event, ran.outcome = EVENT, Ok(timings=TIMINGS, start="warm", instance="greet-1")
    journal.report(ran.ended(200, "function"))
    journal.report(Exchange("", 0, id="r-1", method="GET", path="/é\udcff").ended(404, "no_route", "no"))
    journal.report(Exchange("10.0.0.1", 0, id="r-2", method="POST", path="/" + "x" * 5000).ended(499, "left"))
    answered, refused, left = journal.latest(Selection())
    assert (answered.function, answered.invocation, answered.outcome, answered.start) == ("greet", "id-1", "ok", "warm")
    assert (answered.method, answered.path, answered.client, answered.reason) == ("GET", "/greet", "10.0.0.1", "")
    assert 0 <= answered.ms < 60_000
    assert (refused.function, refused.invocation, refused.outcome) == ("", "r-1", "answered")
    assert (refused.status, refused.reason, refused.text, refused.client) == (404, "no_route", "no", "unix")
    assert refused.path == "/é\\udcff"
    assert (left.outcome, len(left.path)) == ("left", 1024)


@pytest.mark.parametrize("traceparent", [None, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"])
@pytest.mark.parametrize("start", [None, "warm", "fork"])
@pytest.mark.parametrize(
    ("event_id", "path", "client"), [("id-1", "/greet", "10.0.0.1"), ("é\udcff", "/é\udcff" * 500, "")]
)
def test_the_shorter_way_to_the_entry_of_a_request_leads_to_the_same(
    traceparent: str | None, start: StartKind | None, event_id: str, path: str, client: str
) -> None:
    section = HttpSection(method="GET", path=path, route="/greet")
    event = replace(EVENT, id=event_id, traceparent=traceparent, http=section)
    outcome = Ok(timings=TIMINGS, start=start, instance="greet-1", version="v1", cpu_ns=1_234_567)
    verdict = HttpVerdict(client, event_id, "GET" * 20, path, 201, "function", "", 5_000_000, "a-key")
    invocation = Invocation(event, outcome, verdict)
    assert entries.entry_of(invocation, 1.5, 20_000_000) == entries._any_entry(invocation, 1.5, 20_000_000)


def test_quiet_keeps_no_outcomes() -> None:
    journal = _journal(invocations=False)
    journal.line(_line("x"))
    journal.report(Invocation(EVENT, Ok()))
    journal.report(Exchange("10.0.0.1", 0).ended(404, "no_route"))
    assert [entry.text for entry in journal.latest(Selection())] == ["x"]


async def test_followers_get_what_comes_and_their_end() -> None:
    journal = _journal()
    journal.line(_line("before"))
    with journal.follow() as follower:
        journal.line(_line("one"))
        waiting = asyncio.create_task(_all(follower))
        await asyncio.sleep(0)
        journal.line(_line("two"))
        journal.close()
        assert await waiting == ["one", "two"]


async def _all(follower: Follower) -> list[str]:
    texts = []
    while (entry := await follower.next()) is not None:
        texts.append(entry.text)
    return texts


def _message(attempt: int = 1, broker: str = "") -> Event:
    queue = QueueSection(name="orders", attempt=attempt, broker=broker)
    return Event(source="/test", type="com.example.order", id="m-1", function="greet", queue=queue, attempt=attempt)


def test_a_message_is_one_entry_with_what_became_of_it() -> None:
    journal = _journal()
    failed = Failed(kind="error", code=ExceptionName("KeyError"), message="'x'", timings=TIMINGS, start="warm")
    journal.report(_settled(_message(), Ok(timings=TIMINGS, start="fork"), Ack()))
    journal.report(_settled(_message(attempt=2, broker="shop"), failed, Retry(2.14, "error/KeyError: 'x'")))
    journal.report(_settled(_message(attempt=2), failed, Retry(0.0314, "error/KeyError: 'x'")))
    journal.report(_settled(_message(attempt=3), failed, Release(1.0)))
    journal.report(_settled(_message(attempt=5), failed, Dead("Attempts", "error/KeyError: 'x'")))
    done, again, soon, released, dead = journal.latest(Selection(function="greet"))
    assert (done.trigger, done.queue, done.attempt, done.outcome, done.decision) == ("queue", "orders", 1, "ok", "ack")
    assert (again.queue, again.attempt, again.decision) == ("orders@shop", 2, "retry in 2.1 s")
    assert (again.outcome, again.text, again.run_ms) == ("error/KeyError", "'x'", 10.0)
    assert soon.decision == "retry in 0.031 s"
    assert (released.decision, dead.decision) == ("released", "dead: Attempts")


def test_a_message_that_was_not_run_says_why() -> None:
    journal = _journal()
    journal.report(_settled(_message(), None, Dead("MaxHops", "16 handlers in a row")))
    [entry] = journal.latest(Selection(function="greet"))
    assert (entry.outcome, entry.decision, entry.text) == ("unrun", "dead: MaxHops", "16 handlers in a row")


def test_a_batch_is_one_entry() -> None:
    journal = _journal()
    items = (_message(attempt=3), _message())
    batch = Event(source="/test", type="forklight.queue", function="greet", items=items)
    journal.report(_settled(batch, Ok(), Ack(), Dead("Rejected", "no")))
    journal.report(_settled(batch, Failed(kind="error", code="Rejected", message="no")))
    settled, again = journal.latest(Selection(function="greet"))
    assert (settled.queue, settled.messages, settled.attempt) == ("orders", 2, 3)
    assert (settled.decision, again.decision) == ("1 ack, 1 dead", "again one by one")


def test_an_entry_names_its_timer() -> None:
    journal = _journal()
    timer = TimerSection(name="nightly", schedule="30 2 * * *", timezone="UTC", scheduled_at="2026-11-23T02:30:00Z")
    journal.report(Invocation(Event(source="/test", type="forklight.timer", function="greet", timer=timer), Ok()))
    [entry] = journal.latest(Selection(function="greet"))
    assert (entry.trigger, entry.timer, entry.scheduled_at) == ("timer", "nightly", "2026-11-23T02:30:00Z")
    assert (entry.status, entry.attempt) == (0, 0)
