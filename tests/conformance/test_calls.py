"""What a handler gets and returns, in every runtime."""

import hashlib
import json
import os

import pytest

from bus import Ok
from sandbox.guest._forklight.wire import SHARED_BYTES, SHARED_FROM_BYTES
from sandbox.spec import Limits
from tests.conformance.conftest import Runtimes
from tests.kit.support import answer, event, failure, until

pytestmark = [pytest.mark.any_user, pytest.mark.asyncio(loop_scope="module")]


async def test_a_handler_gets_the_event_and_its_context_and_serves_again(runtime: Runtimes) -> None:
    instance = await runtime.start("sees")
    first = event(b'{"a": [1, "\xc3\xbc"]}')
    seen = answer(await instance.invoke(first, attempt=3))
    again = answer(await instance.invoke(event(b"[2]")))

    assert seen == {
        "calls": 1,
        "pid": seen["pid"],
        "data": {"a": [1, "ü"]},
        "event": {key: getattr(first, key) for key in ("id", "source", "type", "time", "datacontenttype")},
        "caller": "test",
        "function": "conformance-sees",
        "attempt": 3,
        "remaining": True,
        "greeting": "hello",
    }
    assert (again["calls"], again["pid"], again["data"], again["attempt"]) == (2, seen["pid"], [2], 1)
    instance.leave()


async def test_bodies_of_every_size_arrive_whole_one_after_another(runtime: Runtimes) -> None:
    """Through the socket, through shared memory at both of its limits, and through the socket again."""
    instance = await runtime.start("measure")
    for size in (0, 1, SHARED_FROM_BYTES - 1, SHARED_FROM_BYTES, SHARED_BYTES, 50_000, SHARED_BYTES + 1, 2_000_000, 7):
        body = os.urandom(size)
        found = answer(await instance.invoke(event(body, datacontenttype="application/octet-stream")))
        assert found == [size, hashlib.sha256(body).hexdigest()]
    instance.leave()


RESULTS = [
    ("object", 200, "application/json", {"a": [1, 2.5, None, True, "ü"]}),
    ("list", 200, "application/json", [1, "two"]),
    ("number", 200, "application/json", 7),
    ("text", 200, "text/plain; charset=utf-8", "grüße".encode()),
    ("nothing", 204, None, b""),
    ("bytes", 200, "application/octet-stream", b"\x00\xff"),
    ("whole", 201, "text/css", b"body"),
]


async def test_results_of_every_kind(runtime: Runtimes) -> None:
    instance = await runtime.start("returns")
    for what, status, kind, body in RESULTS:
        outcome = await instance.invoke(event(json.dumps(what).encode()))

        assert isinstance(outcome, Ok), outcome
        found = outcome.body if isinstance(body, bytes) else json.loads(outcome.body)
        assert (outcome.status, outcome.content_type, found) == (status, kind, body)
    headers = {(name.lower(), value) for name, value in getattr(outcome, "headers", ())}
    assert headers == {("x-name", "value"), ("set-cookie", "a=1"), ("set-cookie", "b=2")}, "of the last one"
    instance.leave()


async def test_what_no_response_can_hold_is_an_error_and_the_instance_goes_on(runtime: Runtimes) -> None:
    instance = await runtime.start("returns")
    for what in (b'"impossible"', b'"header"'):
        failed = failure(await instance.invoke(event(what)))
        assert (failed.kind, failed.code) == ("error", "Unencodable")
    assert answer(await instance.invoke(event(b'"number"'))) == 7
    instance.leave()


async def test_a_result_has_at_most_its_limit(runtime: Runtimes) -> None:
    instance = await runtime.start("grows_result", limits=Limits(max_result_bytes=1000))
    failed = failure(await instance.invoke(event(b"1001")))
    fitting = await instance.invoke(event(b"1000"))

    assert (failed.kind, failed.code) == ("error", "ResultTooLarge")
    assert isinstance(fitting, Ok)
    assert len(fitting.body) == 1000
    instance.leave()


async def test_a_result_as_large_as_the_limit_is_sent(runtime: Runtimes) -> None:
    outcome = await runtime.outcome("grows_result", b"6291456")

    assert isinstance(outcome, Ok), outcome
    assert len(outcome.body) == 6 * 1024 * 1024


async def test_an_error_is_a_failure_with_the_authors_stack(runtime: Runtimes) -> None:
    instance = await runtime.start("fails")
    failed = failure(await instance.invoke(event()))
    again = failure(await instance.invoke(event()))

    assert (failed.kind, failed.code, failed.message) == ("error", "NoSuchOrder", "no such order: 17")
    assert "fails" in failed.traceback
    assert "_forklight" not in failed.traceback
    assert "guest.js" not in failed.traceback
    assert again.code == "NoSuchOrder"
    instance.leave()


async def test_a_handler_rejects_and_asks_for_another_attempt(runtime: Runtimes) -> None:
    rejected = failure(await runtime.outcome("rejects"))
    retried = failure(await runtime.outcome("retries"))

    assert (rejected.kind, rejected.code, rejected.message) == ("error", "Rejected", "never again")
    assert (retried.kind, retried.code, retried.retry_after_s) == ("error", "Retry", 7.5)


async def test_outputs_ride_in_the_outcome(runtime: Runtimes) -> None:
    outcome = await runtime.outcome("sends")

    assert isinstance(outcome, Ok), outcome
    send, spawn = outcome.outputs
    assert outcome.body == b"sent"
    assert (send.kind, send.name, json.loads(send.body), send.content_type) == (
        "send",
        "orders",
        {"n": 1},
        "application/json",
    )
    assert (send.delay_s, send.id, send.headers, send.correlation_id, send.reply_to) == (
        2.0,
        "o1",
        {"a": "b"},
        "c",
        "answers",
    )
    assert (spawn.kind, spawn.name, spawn.body, spawn.id) == ("spawn", "ship", b"text", "s1")


async def test_what_cannot_be_decoded_never_reaches_the_handler(runtime: Runtimes) -> None:
    instance = await runtime.start("sees")
    failed = failure(await instance.invoke(event(b"{")))

    assert (failed.kind, failed.code) == ("error", "Undecodable")
    assert answer(await instance.invoke(event(b"1")))["calls"] == 1
    instance.leave()


async def test_each_line_of_the_log_belongs_to_its_call(runtime: Runtimes) -> None:
    instance = await runtime.start("prints")
    events = [event(json.dumps(text).encode()) for text in ("one", "two")]
    for each in events:
        await instance.invoke(each)
    lines = runtime.bench.lines
    await until(lambda: [line for line in lines if line.text.endswith("log two")])

    for each, text in zip(events, ("one", "two"), strict=True):
        own = {line.text.rpartition(": ")[2]: line for line in lines if line.invocation == each.id}
        assert own.keys() == {f"out {text}", f"err {text}", f"log {text}"}
        if runtime.subject.has_levels:
            assert own[f"log {text}"].level == "warning"
    instance.leave()


async def test_an_outcome_tells_what_its_call_took(runtime: Runtimes) -> None:
    outcome = await runtime.outcome("measure", b"x" * 100_000)
    times = outcome.timings

    assert times.assigned_ns <= times.started_ns <= times.finished_ns
    assert outcome.peak_rss_kb > 1024
    assert outcome.cpu_ns > 0
