"""Run by test_interpreters.py with each interpreter found, without pytest; as the guest, for Python 3.10 and later."""

import asyncio
import inspect
import json
import os
import signal
import socket
import sys
import threading
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "sandbox" / "guest"))

from _forklight import (
    aio,
    encoding,
    events,
    handler,
    invocation,
    logs,
    orphans,
    signature,
    threads,
    tracebacks,
    wire,
)

FORM = b'--b\r\ncontent-disposition: form-data; name="f"; filename="a.txt"\r\n\r\nbytes\r\n--b--'


class Colour(Enum):
    RED = "red"


@dataclass
class Item:
    when: datetime
    price: Decimal


def make_head(**fields: Any) -> "dict[str, Any]":
    deadline_ns = time.monotonic_ns() + 10_000_000_000
    return {"t": "invoke", "i": 1, "deadline_ns": deadline_ns, "attempt": 1, "start": "warm", "event": fields}


def call(function: Any, body: bytes = b"", **fields: Any) -> Any:
    loaded = handler.Function(name="f", version="v", call=function, max_result=1000)
    if loaded.is_async:
        return asyncio.run(invocation.arun(loaded, make_head(**fields), body, lambda: False))
    return invocation.run(loaded, make_head(**fields), body, lambda: False)


def header_of(reply: Any) -> "dict[str, Any]":
    return dict(json.loads(f"{{{reply.fields}}}"))


def check_decoding() -> None:
    event = events.make_event({"datacontenttype": "multipart/form-data; boundary=b"}, FORM)
    assert event["data"]["files"][0]["body"] == b"bytes"
    event = events.make_event({"datacontenttype": "application/x-www-form-urlencoded"}, b"a=1&a=2")
    assert event["data"] == {"a": ["1", "2"]}
    for body in (b"[" * 200_000, b"1" * 5000, b"NaN", b"\xff"):
        assert header_of(call(print, body, decode="json"))["code"] == "Undecodable"


def check_encoding() -> None:
    noon = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)  # noqa: UP017 - datetime.UTC is 3.11
    body = encoding.encode_json({Colour.RED: [Item(noon, Decimal("0.10")), {1}]})
    assert body == b'{"red":[{"when":"2026-01-01T12:00:00Z","price":"0.10"},[1]]}'
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    for wrong in (deep, [float("nan")], [10**5000], [object()]):
        assert header_of(call(lambda event, wrong=wrong: wrong))["code"] == "Unencodable"


def check_signatures() -> None:
    async def handler_of_both(event: Any, context: Any) -> str:
        return str(context.attempt)

    assert call(handler_of_both).chunks == [b"1"]
    assert call(lambda event: event["id"], id="e").chunks == [b"e"]
    if sys.version_info >= (3, 12):
        assert signature.is_async(inspect.markcoroutinefunction(lambda event: handler_of_both(event, None)))


def check_failures() -> None:
    def recurse(event: Any) -> None:
        recurse(event)

    def fail(event: Any) -> None:
        try:
            recurse(event)
        except RecursionError as error:
            raise SystemExit("no") from error

    def reject(event: Any, context: Any) -> None:
        context.reject("never")

    header = header_of(call(fail))
    assert header["code"] == "SystemExit"
    assert "RecursionError" in header["traceback"]
    assert "_forklight" not in header["traceback"]
    assert header_of(call(reject))["code"] == "Rejected"
    assert tracebacks.format_traceback(ValueError()) == ""


def check_deadline() -> None:
    passed = []

    def on_signal(*_: Any) -> None:
        passed.append(True)
        raise SystemExit

    signal.signal(signal.SIGTERM, on_signal)
    function = handler.Function(name="f", version="v", call=lambda event: os.kill(os.getpid(), 15), max_result=1)
    header = header_of(invocation.run(function, make_head(), b"", lambda: bool(passed)))
    assert (header["kind"], header["code"]) == ("timeout", "Timeout")


def check_loading() -> None:
    try:
        handler.load(name="f", version="v", handler="fl_none:f", runtime="r", hooks={}, max_result=1)
    except handler.LoadError as error:
        code = error.code
    assert code == "ImportModuleError"
    with threads.watch_threads() as seen:
        import wave  # noqa: F401 - any module that is not loaded yet
    assert (seen.count, seen.owner) == (1, "")


def check_one_at_a_time() -> None:
    """Async calls in turn, of which only every other one waits; its task is the current one in any case."""

    async def handle(event: Any) -> bool:
        task = asyncio.current_task()
        if event["subject"] == "waits":
            await asyncio.sleep(0.001)
        return task is not None and asyncio.current_task() is task

    ours, theirs = socket.socketpair()
    answers = []

    def serve() -> None:
        for i in range(10):
            head = make_head(subject="waits" if i % 2 else "") | {"i": i}
            ours.sendall(wire.pack(wire.encode(head), [])[0])
            answers.append(wire.read(ours.fileno(), wire.Frames()))
        ours.shutdown(socket.SHUT_WR)

    function = handler.Function(name="f", version="v", call=handle, max_result=1000)
    server = threading.Thread(target=serve)
    server.start()
    aio.serve(function, theirs, 1, os.memfd_create("stack"), orphans.Orphans())
    server.join()
    assert [answer[1] for answer in answers if answer] == [b"true"] * 10


def check_concurrency() -> None:
    """Three calls at once; each writes from a thread, and one uses CPU time there."""
    lines, lines_end = os.pipe()
    stream = logs.line_stream(lines_end, logs.MarkedStream)

    def work(number: str) -> None:
        print(number, file=stream)
        begin_ns = time.thread_time_ns()
        while number == "2" and time.thread_time_ns() < begin_ns + 20_000_000:
            pass

    async def handle(event: Any) -> None:
        await asyncio.to_thread(work, event["subject"])
        await asyncio.sleep(0.01)

    ours, theirs = socket.socketpair()
    replies = wire.Frames()
    used_ns: dict[int, int] = {}

    def serve() -> None:
        for i in (1, 2, 3):
            head = make_head(subject=str(i)) | {"i": i}
            ours.sendall(wire.pack(wire.encode(head), [])[0])
        for _ in range(3):
            header, _ = wire.read(ours.fileno(), replies) or (dict[str, Any](), b"")
            used_ns[header["i"]] = header["cpu_ns"]
        ours.shutdown(socket.SHUT_WR)

    function = handler.Function(name="f", version="v", call=handle, max_result=1000, concurrency=3)
    server = threading.Thread(target=serve)
    server.start()
    aio.serve(function, theirs, lines_end, os.memfd_create("stack"), orphans.Orphans())
    server.join()
    assert sorted(os.read(lines, 1000).split()) == [b"\x1f%d\x1f%d" % (i, i) for i in (1, 2, 3)]
    assert used_ns[1] < 10_000_000 < used_ns[2] > 20_000_000 > used_ns[3]


if __name__ == "__main__":
    logs.set_up()
    checks = (
        check_one_at_a_time,
        check_decoding,
        check_encoding,
        check_signatures,
        check_failures,
        check_deadline,
        check_loading,
    )
    for check in (*checks, check_concurrency):
        check()
    sys.stdout.write("checked\n")
