"""The attributes of the context, its outputs, and how it ends an invocation."""

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from sandbox.guest._forklight.context import Context, Rejected, Retry
from sandbox.guest._forklight.encoding import Unencodable
from sandbox.guest._forklight.outputs import Outputs, ResultTooLarge
from tests.kit.guest import call, make_function, make_head


def make_context(outputs: Outputs, timeout_s: float = 60.0) -> Context:
    function = make_function(print)
    return Context(
        function.name, function.version, function.logger, make_head(timeout_s, traceparent="00-1-2-03"), outputs
    )


def test_it_tells_which_invocation_this_is() -> None:
    context = make_context(Outputs(1000))
    assert (context.invocation_id, context.function, context.version) == ("e1", "shop", "v1")
    assert context.traceparent == "00-1-2-03"
    assert (context.attempt, context.start_kind, context.log.name) == (2, "fork", "shop")


def test_deadline_and_remaining_time_agree() -> None:
    earliest = time.time() + 1000.0
    context = make_context(Outputs(1000), timeout_s=1000.0)
    assert earliest - 1.0 <= context.deadline <= time.time() + 1001.0
    assert 0 < context.remaining_ms() <= 1_000_000
    assert make_context(Outputs(1000), timeout_s=-1.0).remaining_ms() == 0


def test_outputs_are_kept_in_order_with_their_bodies() -> None:
    def handler(event: Any, context: Context) -> None:
        data = {"n": 1}
        context.send("orders", data, delay=1.5, id="m1", headers={"kind": "new"})
        data["n"] = 2  # too late to change the output
        context.publish("news", "hot", id="n1")
        context.spawn("thumbnail", b"\x89", delay=timedelta(minutes=1))
        context.send("orders", None, correlation_id="c", reply_to="answers")

    reply = call(handler)
    assert reply.header["out"] == [
        ["send", "orders", "application/json", 7, 1.5, "m1", {"kind": "new"}],
        ["publish", "news", "text/plain; charset=utf-8", 3, 0.0, "n1", {}],
        ["spawn", "thumbnail", "application/octet-stream", 1, 60.0, None, {}],
        ["send", "orders", "application/json", 4, 0.0, None, {}, "c", "answers"],
    ]
    assert reply.chunks == [b"", b'{"n":1}', b"hot", b"\x89", b"null"]


def test_outputs_are_dropped_on_failure() -> None:
    def handler(event: Any, context: Context) -> None:
        context.send("orders", "x")
        raise ValueError

    reply = call(handler)
    assert reply.header["t"] == "fail"
    assert "out" not in reply.header
    assert reply.chunks == []


Send = Callable[[Context], None]
WRONG: list[tuple[Send, type[Exception], str]] = [
    (lambda context: context.send("", 1), TypeError, "send: the name must be a non-empty str, not ''"),
    (lambda context: context.publish(None, 1), TypeError, "publish: the name"),  # type: ignore[arg-type]
    (lambda context: context.spawn("f", 1, id=""), TypeError, "spawn: the id"),
    (lambda context: context.send("q", 1, reply_to=""), TypeError, "send: the reply_to must be a non-empty str"),
    (lambda context: context.send("q", 1, correlation_id=7), TypeError, "the correlation_id"),  # type: ignore[arg-type]
    (lambda context: context.send("q", 1, correlation_id="\udc80"), ValueError, "has a lone surrogate"),
    (lambda context: context.send("q", 1, headers={"a": 1}), TypeError, "headers must be str"),  # type: ignore[dict-item]
    (lambda context: context.send("q\udc80", 1), ValueError, "send: 'q\\\\udc80' has a lone surrogate"),
    (lambda context: context.spawn("f", 1, id="\udc80"), ValueError, "has a lone surrogate"),
    (lambda context: context.send("q", 1, headers={"a": "\udc80"}), ValueError, "has a lone surrogate"),
    (lambda context: context.send("q", 1, headers={"\udc80": ""}), ValueError, "has a lone surrogate"),
    (lambda context: context.send("q", 1, headers=[1]), TypeError, "headers must be a dict"),  # type: ignore[arg-type]
    (lambda context: context.send("q", 1, delay=-1), ValueError, "finite, not negative"),
    (lambda context: context.send("q", 1, delay=float("nan")), ValueError, "finite, not negative"),
    (lambda context: context.send("q", 1, delay=367 * 86400), ValueError, "at most 366 days"),
    (lambda context: context.spawn("f", 1, delay=10**400), ValueError, "an integer that large"),
    (lambda context: context.send("q" * 70_000, 1), ValueError, "has 70000 characters, over 65536"),
    (lambda context: context.send("q", 1, delay="10s"), TypeError, "seconds or a timedelta, not an object of type str"),
    (lambda context: context.send("q", object()), Unencodable, "object of type object"),
    (lambda context: context.send("q", "x" * 1001), ResultTooLarge, "outputs of 1001 bytes, but"),
]


@pytest.mark.parametrize(("send", "error", "message"), WRONG)
def test_what_cannot_be_sent_is_an_error_at_once_and_not_kept(send: Send, error: type[Exception], message: str) -> None:
    outputs = Outputs(1000)
    with pytest.raises(error, match=message):
        send(make_context(outputs))
    assert outputs.close() == []


def test_names_and_headers_of_outputs_have_a_limit_too() -> None:
    outputs = Outputs(10_000_000)
    context = make_context(outputs)
    context.send("q", "", headers={"h": "x" * 600_000})
    with pytest.raises(ResultTooLarge, match=r"2 outputs of one call, .* over 634880: send several in one message"):
        context.send("q", "", headers={"h": "x" * 40_000})
    context.send("q", "", headers={"h": "x" * 10_000})
    assert len(outputs.close()) == 2


def test_ten_thousand_sends_are_no_problem() -> None:
    outputs = Outputs(10_000_000)
    context = make_context(outputs)
    for number in range(10_000):
        context.send("queue", {"n": number})
    assert len(outputs.close()) == 10_000


def test_after_its_invocation_a_context_sends_nothing() -> None:
    kept: list[Context] = []

    def handler(event: Any, context: Context) -> None:
        kept.append(context)

    call(handler)
    for send in (kept[0].send, kept[0].publish, kept[0].spawn):
        with pytest.raises(RuntimeError, match="after the invocation has ended"):
            send("name", 1)


def test_a_thread_that_sends_while_its_invocation_ends_changes_nothing() -> None:
    sending, ended = threading.Event(), threading.Event()
    errors: list[str] = []

    class Slow:
        def model_dump(self) -> dict[str, int]:
            sending.set()
            ended.wait(30)
            return {}

    def send(context: Context) -> None:
        try:
            context.send("orders", Slow())
        except RuntimeError as error:
            errors.append(str(error))

    def handler(event: Any, context: Context) -> None:
        thread = threading.Thread(target=send, args=(context,), name="sender")
        thread.start()
        sending.wait(30)

    reply = call(handler)
    ended.set()
    for thread in threading.enumerate():
        if thread.name == "sender":
            thread.join(30)
    assert ("out" in reply.header, reply.chunks) == (False, [b""])
    assert errors == ["send('orders') after the invocation has ended: its outputs went with its result"]


def test_retry_and_reject_pass_through_the_authors_own_except() -> None:
    def handler(event: Any, context: Context) -> str:
        try:
            if event["data"] == "retry":
                context.retry(after=timedelta(seconds=90))
            context.reject("no such order")
        except Exception:
            return "swallowed"

    header = call(handler, b"retry", datacontenttype="text/plain").header
    assert (header["kind"], header["code"], header["retry_after_s"]) == ("error", "Retry", 90.0)
    header = call(handler, b"reject", datacontenttype="text/plain").header
    assert (header["code"], header["message"], header["traceback"]) == ("Rejected", "no such order", "")
    assert header["retry_after_s"] is None


def test_retry_without_a_time_and_with_a_wrong_one() -> None:
    context = make_context(Outputs(1000))
    with pytest.raises(Retry) as caught:
        context.retry()
    assert caught.value.retry_after_s is None
    with pytest.raises(ValueError, match="not negative"):
        context.retry(after=-1)
    with pytest.raises(Rejected, match="why"):
        context.reject("why")
