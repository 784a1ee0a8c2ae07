"""A handler run in process: everything a test may ask about how it ended."""

import asyncio
import logging
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from forklight.testing import LoadError, arun, batch, call, http, queue, run
from forklight.testing.results import Result
from forklight.types import Context, Event


def test_a_result_is_the_response() -> None:
    result = run(
        lambda event: ({"n": event["data"]}, 201, {"Location": "/x", "Set-Cookie": ["a=1", "b=2"]}), call(json=1)
    )
    response = result.response
    assert not result.failed
    assert (response.status, response.json(), response.text) == (201, {"n": 1}, '{"n":1}')
    assert (response.content_type, response.headers["location"]) == ("application/json", "/x")
    assert response.headers["set-cookie"] == "a=1, b=2"
    assert [value for name, value in response.all_headers if name == "Set-Cookie"] == ["a=1", "b=2"]


def test_names_of_headers_are_found_in_any_case() -> None:
    response = run(lambda _event: ("", 200, {"X-Tenant": "a", "Set-Cookie": ["a=1; Path=/", "b=2"]}), call()).response
    headers = response.headers
    assert headers["X-Tenant"] == headers["x-tenant"] == headers.get("X-TENANT") == "a"
    assert "X-TENANT" in headers
    assert "X-Other" not in headers
    assert (headers.get("X-Other"), headers.get("X-Other", "none")) == (None, "none")
    with pytest.raises(KeyError, match="x-other"):
        headers["X-Other"]
    assert headers.get_all("Set-Cookie") == ["a=1; Path=/", "b=2"]
    assert headers.get_all("X-Other") == []
    assert response.cookies == {"a": "1", "b": "2"}
    assert {"x-tenant", "set-cookie"} < set(headers)


def test_a_handler_gets_no_object_of_the_test() -> None:
    event = call(json={"a": []})

    def handler(event: Event) -> None:
        event["data"]["a"].append(1)

    assert run(handler, event).response.status == 204
    assert event["data"] == {"a": []}


def test_what_the_context_says() -> None:
    def handler(_event: Event, context: Context) -> list[Any]:
        assert 0 < context.remaining_ms() <= 5000
        assert 0 < context.deadline - time.time() <= 5
        return [context.function, context.attempt, context.start_kind, context.invocation_id, context.version]

    result = run(handler, queue("q", attempt=2, message_id="m"), function="orders", timeout_s=5, start_kind="fork")
    assert result.response.json() == ["orders", 2, "fork", "m", "test"]
    assert result.response.headers["x-forklight-start"] == "fork"


def test_an_attempt_is_in_the_context_and_in_the_event() -> None:
    def handler(event: Event, context: Context) -> list[int]:
        return [event["queue"]["attempt"], context.attempt]

    assert run(handler, queue("q"), attempt=3).response.json() == [3, 3]
    assert run(lambda _event, context: context.attempt, http("GET", "/"), attempt=4).response.json() == 4


def test_what_was_sent_and_spawned() -> None:
    def handler(_event: Event, context: Context) -> None:
        context.send("orders", {"n": 1}, delay=2, headers={"tenant": "acme"})
        context.spawn("report", "now", id="r-1")

    result = run(handler, call() | {"id": "e"})
    [sent], [spawned] = result.sent, result.spawned
    assert (sent.queue, sent.data, sent.delay_s, sent.id, sent.headers) == (
        "orders",
        {"n": 1},
        2.0,
        "e-1",
        {"tenant": "acme"},
    )
    assert (spawned.function, spawned.data, spawned.delay_s, spawned.id) == ("report", "now", 0.0, "r-1")


def test_what_a_failed_handler_sent_is_dropped() -> None:
    def handler(_event: Event, context: Context) -> None:
        context.send("orders", 1)
        raise KeyError("x")

    assert run(handler, call()).sent == ()


@pytest.mark.parametrize(("queue_name", "delay"), [("x" * 300, None), ("orders", 40 * 86400)])
def test_what_no_store_would_take_is_a_failure(queue_name: str, delay: float | None) -> None:
    result = run(lambda _event, context: context.send(queue_name, 1, delay=delay), queue("q"))
    assert (result.failure.code, result.settled, result.sent) == ("Unroutable", "dead", ())


def test_what_has_not_failed_has_no_failure() -> None:
    result = run(lambda _event: "fine", call())
    with pytest.raises(ValueError, match="it did not fail, it answered 200: b'fine'"):
        _ = result.failure


def test_a_failure_has_the_authors_lines_alone() -> None:
    def handler(event: Event) -> None:
        raise RuntimeError(f"no {event['data']}")

    result = run(handler, call(json="luck"))
    assert (result.failure.kind, result.failure.code, result.failure.message) == ("error", "RuntimeError", "no luck")
    frames = [line for line in result.failure.traceback.splitlines() if line.startswith("  File ")]
    assert [line.partition(",")[0] for line in frames] == [f'  File "{__file__}"']
    assert result.response.status == 500
    assert "luck" not in result.response.text, "as on a server, that is for the log"


def test_a_result_that_cannot_be_encoded_is_a_failure() -> None:
    result = run(lambda _event: {"a": object()}, call())
    assert (result.failure.code, result.failure.message) == (
        "Unencodable",
        "$.a: an object of type object cannot be encoded: make it a dict, list, text or number",
    )
    large = run(lambda _event: "x" * 101, call(), max_result_bytes=100).failure
    assert large.code == "ResultTooLarge"


def test_print_and_logging_are_lines_of_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    def handler(_event: Event, context: Context) -> None:
        print("one", end="", flush=True)  # noqa: T201
        print(" line")  # noqa: T201
        context.log.info("informed")
        logging.getLogger("lib").debug("too quiet")
        print("to stderr", file=sys.stderr)  # noqa: T201
        context.log.error("two\nlines")
        print("without an end", end="")  # noqa: T201

    level = logging.getLogger().level
    result = run(handler, call(), function="f")
    assert result.logs == ("one line", "INFO f: informed", "to stderr", "ERROR f: two\nlines", "without an end")
    assert "one line" in capsys.readouterr().out
    assert logging.getLogger().level == level


def accept(_event: Event) -> None:
    pass


def retry(_event: Event, context: Context) -> None:
    context.retry(after=7)


def reject(_event: Event, context: Context) -> None:
    context.reject("never")


def fail(_event: Event) -> None:
    raise ValueError


@pytest.mark.parametrize(
    ("handler", "attempt", "settled", "status"),
    [
        (accept, 1, "ack", 204),
        (retry, 1, "retry", 500),
        (retry, 5, "dead", 500),
        (reject, 1, "dead", 422),
        (fail, 1, "retry", 500),
        (fail, 5, "dead", 500),
    ],
)
def test_what_becomes_of_a_message(handler: Any, attempt: int, settled: str, status: int) -> None:
    result = run(handler, queue("orders", attempt=attempt))
    assert (result.settled, result.response.status) == (settled, status)
    assert run(fail, queue("orders", attempt=5), attempts=6).settled == "retry"


def test_a_retry_says_when() -> None:
    result = run(retry, http("GET", "/"))
    assert (result.failure.retry_after_s, result.response.headers["retry-after"]) == (7.0, "7")


def test_the_messages_of_a_batch_are_settled_one_by_one() -> None:
    event = batch([queue("q", message_id="a"), queue("q", message_id="b"), queue("q", message_id="c", attempt=5)])
    result = run(lambda event: {"failures": [item["id"] for item in event["data"][1:]]}, event)
    assert result.settled_each == {"a": "ack", "b": "retry", "c": "dead"}
    with pytest.raises(ValueError, match="settled_each"):
        _ = result.settled
    assert run(reject, event).settled == "alone"


def test_an_async_handler() -> None:
    async def handler(event: Event, context: Context) -> list[Any]:
        await asyncio.sleep(0)
        return [event["data"], context.attempt]

    assert run(handler, call(json="x")).response.json() == ["x", 1]


async def test_inside_an_event_loop() -> None:
    async def handler(event: Event) -> Any:
        await asyncio.sleep(0)
        return event["data"]

    assert (await arun(handler, call(json="x"))).response.text == "x"
    assert (await arun(lambda event: event["data"], call(json="y"))).response.text == "y"
    with pytest.raises(RuntimeError, match="await arun"):
        run(handler, call())


async def test_calls_at_the_same_time_have_logs_of_their_own() -> None:
    """As in an instance with `concurrency`: with their tasks and threads; what is outside belongs to none of them."""
    here = asyncio.Event()
    inside = 0

    async def handler(event: Event, context: Context) -> None:
        nonlocal inside
        inside += 1
        if inside == 3:
            alone = threading.Thread(target=print, args=("of nobody",))
            alone.start()
            alone.join()
            here.set()
        print(event["data"], "begins", end="")  # noqa: T201
        await here.wait()
        await asyncio.to_thread(print, " and goes on")
        await asyncio.create_task(asyncio.to_thread(context.log.info, "%s logs", event["data"]))

    stdout, stderr = sys.stdout, sys.stderr
    results = await asyncio.gather(*(arun(handler, call(json=name), function="f") for name in "abc"))
    assert [result.logs for result in results] == [
        (f"{name} begins and goes on", f"INFO f: {name} logs") for name in "abc"
    ]
    assert (sys.stdout, sys.stderr) == (stdout, stderr)
    assert (await arun(lambda _event: sys.stdout.write("alone\n"), call())).logs == ("alone",)


async def test_an_async_handler_is_cancelled_at_its_deadline() -> None:
    async def handler(_event: Event) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            print("cleaned up")  # noqa: T201

    result: Result = await arun(handler, queue("q"), timeout_s=0.05)
    assert (result.failure.kind, result.failure.code, result.settled) == ("timeout", "Timeout", "retry")
    assert (result.response.status, result.logs) == (504, ("cleaned up",))
    await asyncio.sleep(0)  # the deadline was the handler's, not this test's


async def test_a_test_that_is_cancelled_ends() -> None:
    begun = asyncio.Event()

    async def handler(_event: Event) -> None:
        begun.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(arun(handler, call()))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_a_sync_handler_that_is_late_has_timed_out() -> None:
    def handler(_event: Event, context: Context) -> str:
        while time.time() <= context.deadline + 0.001:
            pass
        return "late"

    failure = run(handler, call(), timeout_s=0.01).failure
    assert (failure.kind, failure.message) == ("timeout", "the handler did not finish by its deadline")


def test_running_out_of_memory_is_a_crash() -> None:
    def handler(_event: Event) -> None:
        raise MemoryError

    failure = run(handler, call()).failure
    assert (failure.kind, failure.code) == ("crash", "MemoryExceeded")


def test_an_interrupt_is_for_the_test_runner() -> None:
    def handler(_event: Event) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(handler, call())


def test_a_handler_by_its_name(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "by_its_name.py").write_text("def handler(event, context):\n    return context.function\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    assert run("by_its_name:handler", call()).response.text == "by_its_name"
    with pytest.raises(LoadError, match=r"does not exist: module 'by_its_name' has handler \(did you mean 'handler'"):
        run("by_its_name:handle", call())
    with pytest.raises(LoadError, match="ImportModuleError: "):
        run("by_its_nam:handler", call())


@pytest.mark.parametrize(("handler", "why"), [(int, "is a class"), (lambda: 1, "takes no argument")])
def test_what_no_server_would_take_for_a_handler(handler: Any, why: str) -> None:
    with pytest.raises(LoadError, match=why):
        run(handler, call())


def keeping(event: dict[str, Any]) -> list[str]:
    folder = Path(os.environ["FORKLIGHT_DATA"])
    (folder / str(event["data"])).touch()
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("test", [1, 2])
def test_a_test_has_a_data_folder_of_its_own(test: int) -> None:
    run(keeping, call(json=1))
    assert run(keeping, call(json=2)).response.json() == ["1", "2"]
    assert (Path(os.environ["FORKLIGHT_DATA"]) / "2").exists()


async def test_calls_at_the_same_time_share_the_data_folder() -> None:
    async def keeping_async(event: dict[str, Any]) -> list[str]:
        await asyncio.sleep(0)
        return keeping(event)

    results = await asyncio.gather(*(arun(keeping_async, call(json=number)) for number in range(3)))
    assert results[-1].response.json() == ["0", "1", "2"]


def test_the_data_folder_is_the_one_that_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORKLIGHT_DATA", str(tmp_path))
    assert run(keeping, call(json=1)).response.json() == ["1"]
    (tmp_path / "given").mkdir()
    assert run(keeping, call(json=2), data=tmp_path / "given").response.json() == ["2"]
    assert run(keeping, call(json=3)).response.json() == ["1", "3", "given"]
