"""An instance that runs a command: the Runtime API, and the life of the command."""

import base64
import json
import os
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from sandbox.guest._forklight import wire
from sandbox.guest._forklight.child import Child, Command
from sandbox.guest._forklight.imports import LoadError
from sandbox.guest._forklight.wire import SHARED_FROM_BYTES
from tests.kit.commands import CODE, Commanded, commanded
from tests.kit.guest import make_head

pytestmark = pytest.mark.any_user


def ready(instance: Commanded) -> Commanded:
    assert instance.receive() == ({"t": "ready"}, b"")
    return instance


def said(reply: "tuple[dict[str, Any], bytes]") -> Any:
    header, body = reply
    assert header["t"] == "ok", header
    return json.loads(body)


def test_a_command_gets_what_aws_gives_it() -> None:
    with commanded("say") as instance:
        found = said(ready(instance).call(b'{"n":1}', traceparent=f"00-{'ab' * 16}-{'cd' * 8}-01"))
        again = said(instance.call(b"[2]", id="an id / with spaces"))

    assert found["event"] == {"n": 1}
    assert found["variables"] == {
        "AWS_LAMBDA_FUNCTION_NAME": "shop",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
        "LAMBDA_TASK_ROOT": str(CODE),
        "_HANDLER": "say",
        "GREETING": "hello",
    }
    headers = found["headers"]
    assert headers["lambda-runtime-aws-request-id"] == "1"
    assert headers["lambda-runtime-invoked-function-arn"] == "arn:aws:lambda:local:000000000000:function:shop"
    assert headers["lambda-runtime-trace-id"] == f"Root=1-abababab-{'ab' * 12};Parent={'cd' * 8};Sampled=1"
    assert 0 < int(headers["lambda-runtime-deadline-ms"]) - found["now_ms"] <= 60_000
    assert headers["forklight-attempt"] == "2"
    assert (found["folder"], found["fds"]) == (str(CODE), ["0", "1", "2", "3"])
    assert again["event"] == [2]
    assert again["pid"] == found["pid"]
    assert len(again["headers"]["lambda-runtime-aws-request-id"]) == 32, "an id that no path can hold is hashed"


def test_a_reply_tells_times_and_the_use_of_the_command() -> None:
    with commanded("say") as instance:
        began = time.monotonic_ns()
        header, _ = ready(instance).call()

    assert began < header["started_ns"] <= header["finished_ns"] < time.monotonic_ns()
    assert header["cpu_ns"] > 0
    assert header["peak_rss_kb"] > 1024


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ({}, ("KeyError", "no such order", None)),
        ({"kind": "Timeout"}, ("command.Timeout", "no such order", None)),
        ({"kind": "ForklightReject", "message": "never"}, ("Rejected", "never", None)),
        (
            {"kind": "ForklightRetry", "message": "7.5"},
            ("Retry", "the command asked for another attempt in 7.5 s", 7.5),
        ),
        ({"kind": "ForklightRetry", "message": "later", "more": {"retryAfter": 3}}, ("Retry", "later", 3)),
    ],
)
def test_an_error_is_a_failure(failing: Commanded, event: "dict[str, Any]", expected: Any) -> None:
    header, _ = failing.call(json.dumps(event).encode())

    assert (header["t"], header["kind"]) == ("fail", "error")
    assert (header["code"], header["retry_after_s"]) == (expected[0], expected[2])
    assert header["message"] == expected[1] or expected[1] == "later"


@pytest.fixture(scope="module")
def failing() -> "Any":
    with commanded("fails") as instance:
        yield ready(instance)


def test_bodies_of_every_size_go_both_ways() -> None:
    """Also through the memory that the server shares, and larger than what a socket takes at once."""
    with commanded("say", form="forklight") as instance:
        ready(instance)
        for size in (0, 1, SHARED_FROM_BYTES, 2_000_000):
            body = b"x" * size
            event = said(instance.call(body, datacontenttype="text/plain"))["event"]
            assert base64.b64decode(event["body"]) == body
            assert event["data"] == (body.decode() or None)
        shared = b"y" * SHARED_FROM_BYTES
        os.pwrite(instance.memory, shared, 0)
        instance.send(make_head(i=9, id="9", datacontenttype="text/plain") | {"shared": len(shared)})
        assert said(instance.receive())["event"]["data"] == shared.decode()


def test_answers_of_every_kind() -> None:
    def post(body: bytes, content_type: "str | None" = None, times: int = 1) -> "tuple[dict[str, Any], bytes]":
        headers = {} if content_type is None else {"Content-Type": content_type}
        event = {"body": base64.b64encode(body).decode(), "headers": headers, "times": times}
        return instance.call(json.dumps(event).encode())

    with commanded("posts", max_result=1000) as instance:
        ready(instance)
        assert post(b'{"a":1}')[1] == b'{"a":1}'
        text, _ = post(b"no JSON", "application/x-www-form-urlencoded")
        image, content = post(b"\x89PNG", "image/png")
        proxied, page = post(b'{"statusCode":404,"body":"PGI+","isBase64Encoded":true,"headers":{"X-A":"b"}}')
        wrong, _ = post(b'{"statusCode":99}')
        long, _ = post(b"[" + b"1," * 500 + b"1]")
        instance.log()
        longest, _ = post(b"x", times=2_000_000)
        assert said(instance.call(json.dumps({"body": "MQ=="}).encode())) == 1, "it goes on"
        assert "posted 413" in instance.log()

    assert (text["status"], text["type"]) == (200, "text/plain; charset=utf-8")
    assert (image["type"], content) == ("image/png", b"\x89PNG")
    assert (proxied["status"], page, proxied["headers"]) == (404, b"<b>", [["X-A", "b"]])
    assert (wrong["t"], wrong["code"]) == ("fail", "Unencodable")
    assert (long["code"], longest["code"]) == ("ResultTooLarge", "ResultTooLarge")


def test_a_streamed_response_is_sent_whole_and_an_error_in_its_trailer_is_an_error() -> None:
    with commanded("streams") as instance:
        header, body = ready(instance).call()
        failed, _ = instance.call(b'{"fails": true}')

    assert (header["status"], header["type"], header["headers"]) == (201, "text/css", [["Set-Cookie", "a=1"]])
    assert body == b"body { color: red }"
    assert (failed["t"], failed["code"], failed["message"]) == ("fail", "Torn", "half way")


def test_what_it_sends_goes_with_its_answer() -> None:
    with commanded("sends") as instance:
        header, body = ready(instance).call()

    assert body[: header["length"]] == b"[202, 202, 400, 400, 404]"
    send, spawn = header["out"]
    assert send == ["send", "orders@shop", "application/json", 7, 2.0, "o1", {"a": "b"}, "c", None]
    assert spawn == ["spawn", "ship", "text/plain; charset=utf-8", 10, 0.0, "s1", {}]
    assert body[header["length"] :] == b'{"n":1}plain text'


def test_what_no_client_should_do_is_refused_and_nothing_else_suffers() -> None:
    with commanded("breaks_rules") as instance:
        assert said(ready(instance).call()) == [400, 403, 404, 404, 403]
        assert said(instance.call()) == [400, 403, 404, 404, 403]


def test_a_stranger_is_not_answered() -> None:
    """A process of the same user that has found the address. The command itself goes on."""
    with commanded("say") as instance:
        ready(instance)
        inodes = {
            os.readlink(f"/proc/{instance.process.pid}/fd/{fd}")
            for fd in os.listdir(f"/proc/{instance.process.pid}/fd")
        }
        lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        (port,) = {int(line[1][-4:], 16) for line in lines if line[3] == "0A" and f"socket:[{line[9]}]" in inodes}
        for _ in range(2):
            with socket.create_connection(("127.0.0.1", port), timeout=30) as stranger:
                assert stranger.recv(1) == b""
        found = said(instance.call(b'{"n":1}'))

        assert found["event"] == {"n": 1}
        assert instance.log().count("[forklight] refused a connection to the Runtime API from 127.0.0.1:") == 1


@pytest.mark.parametrize(
    ("handler", "message"),
    [
        ("ends_at_once", "the command './bootstrap' ended with exit code 7 before it asked for an event"),
        ("cannot_begin", "the command './bootstrap' could not initialize itself: Broken: no database"),
    ],
)
def test_a_command_that_cannot_begin_is_unfit(handler: str, message: str) -> None:
    with commanded(handler) as instance:
        header, _ = instance.receive()
        code = instance.process.wait()

    assert (header["t"], header["code"], header["message"], code) == ("unfit", "InitFailed", message, 1)
    assert header["traceback"] == ("at main" if handler == "cannot_begin" else "")


@pytest.mark.parametrize(
    ("content", "mode", "why"),
    [
        (b"#!/bin/sh\n", 0o644, "it may not be executed: run `chmod \\+x ./bootstrap`"),
        (b"#!/no/such/shell\n", 0o755, "its interpreter '/no/such/shell' does not exist"),
        (b"#!/bin/sh\r\n", 0o755, r"its lines end as on Windows: run `sed -i 's/\\r\$//' ./bootstrap`"),
        (b"no program", 0o755, "it is neither a program for"),
        (None, 0, "there is no such file in the function's code"),
    ],
)
def test_what_cannot_be_started_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: "bytes | None", mode: int, why: str
) -> None:
    monkeypatch.chdir(tmp_path)
    if content is not None:
        Path("bootstrap").write_bytes(content)
        Path("bootstrap").chmod(mode)
    with pytest.raises(LoadError, match=f"the command './bootstrap' cannot be started: {why}"):
        Child(command("./bootstrap"), "127.0.0.1:9")


def test_a_program_one_folder_too_deep_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the zip of a code forge."""
    monkeypatch.chdir(tmp_path)
    Path("shop-1.4").mkdir()
    with pytest.raises(
        LoadError, match=r"all of the code is in the folder shop-1\.4/, whose contents have to be the code"
    ):
        Child(command("./bootstrap"), "127.0.0.1:9")


def test_a_program_that_is_nowhere_says_so() -> None:
    with pytest.raises(LoadError, match="it is neither in the function's code nor on PATH"):
        Child(command("no-such-program"), "127.0.0.1:9")


def command(program: str) -> Command:
    return Command((program,), "lambda", "shop", "v1", "x", 1000, 128, "/", {})


@pytest.mark.parametrize(("event", "code"), [({"code": 3}, 3), ({"signal": 11}, -11), ({"code": 0}, 0)])
def test_an_instance_ends_as_its_command_does_within_a_call(event: "dict[str, int]", code: int) -> None:
    with commanded("dies") as instance:
        ready(instance).begin(json.dumps(event).encode())
        assert instance.process.wait() == code
        how = "SIGSEGV" if code < 0 else f"exit code {code}"
        assert f"[forklight] the command './bootstrap' ended with {how} and has not answered\n" in instance.log()


def test_a_command_that_ends_between_calls_is_started_again() -> None:
    """Also a client for one event only: it answers, and ends at once."""
    with commanded("answers_and_ends") as instance:
        ready(instance)
        assert [instance.call()[1] for _ in range(3)] == [b"last words"] * 3
        assert instance.end() == 0


def test_an_overdue_command_gets_sigterm_and_its_answer_changes_nothing() -> None:
    for event in (b"{}", b'{"polite": true}'):
        with commanded("sleeps") as instance:
            ready(instance).begin(event, timeout_s=0.01)
            until_printed(instance, "sleeping")
            instance.process.send_signal(wire.STACK_SIGNAL)
            instance.send({"t": "cancel", "i": 1})
            header, _ = instance.receive()

            assert (header["t"], header["kind"], header["code"]) == ("fail", "timeout", "Timeout")
            assert header["message"].startswith("the command had no answer after ")
            assert instance.process.wait() == 0
            what = os.pread(instance.memory, 4096, wire.STACK_AT)
            assert what.startswith(b"(no stack: Forklight cannot read that of a program; its threads:)\n  ")
            assert b": waiting" in what


def test_a_command_that_is_not_ready_tells_what_it_has_asked_for() -> None:
    for handler, asked in (("never_asks", "none"), ("asks_in_vain", "GET /2018-06-01/runtime/nothing")):
        with commanded(handler) as instance:
            until_printed(instance, "not yet")
            instance.process.send_signal(wire.STACK_SIGNAL)
            what = until_told(instance)
            assert what.startswith(f"its last request of the Runtime API: {asked}\n(no stack: ")


def until_told(instance: Commanded) -> str:
    """What the instance writes of its command where stacks are."""
    end = time.monotonic() + 30
    while not (told := os.pread(instance.memory, 4096, wire.STACK_AT).rstrip(b"\0")).endswith(b"\n"):
        assert time.monotonic() < end
        time.sleep(0.002)
    return told.decode()


def until_printed(instance: Commanded, text: str) -> None:
    """The log comes while the command still runs."""
    end = time.monotonic() + 30
    while text not in instance.log():
        assert time.monotonic() < end
        time.sleep(0.002)


def test_what_a_command_prints_is_in_the_log_before_its_answer() -> None:
    with commanded("prints") as instance:
        header, _ = ready(instance).call(b"[1]")

        assert (header["status"], header["log"]) == (204, 1)
        assert instance.log() == "to stdout [1]\nfrom a child [1]\nto stderr\n"


def test_an_instance_that_leaves_ends_its_command_with_sigterm() -> None:
    with commanded("say", calls=1) as instance:
        pid = said(ready(instance).call())["pid"]
        assert instance.process.wait() == 0, "it has run all its calls"
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    with commanded("never_asks") as instance:
        assert instance.end() == 1, "it was never ready"
