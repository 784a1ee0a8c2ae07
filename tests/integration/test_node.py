"""Functions of Node.js: each instance is a process of its own that loads the function and speaks our frames."""

import asyncio
import json
import os
import shutil
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bus import Failed, Ok, Outcome
from bus.event import begin_trace
from forklight.serving.sealing import copy_of
from sandbox.containment import Level
from sandbox.errors import LoadFailed
from sandbox.instance import Instance
from sandbox.spec import FunctionSpec, Limits, Runtime
from tests.kit.levels import contained, levels
from tests.kit.nodes import major
from tests.kit.support import Bench, answer, event, failure, until

pytestmark = [
    pytest.mark.any_user,
    pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed"),
]


def spec(bench: Bench, handler: str = "index:handler", **settings: Any) -> FunctionSpec:
    """The function of `tests/functions/node`."""
    node = shutil.which("node")
    assert node is not None
    runtime = Runtime(name="web", kind="node", python=bench.runtime.python, command=(node,))
    fixed = {"name": handler.replace("/", "-").replace(":", "-"), "runtime": runtime, "rehearsal": "none"}
    return bench.spec("node", handler, **(fixed | settings))


async def invoke(instance: Instance, data: Any) -> Outcome:
    return await instance.invoke(event(json.dumps(data).encode()))


async def succeeded(instance: Instance, way: str) -> Ok:
    found = await invoke(instance, way)
    assert isinstance(found, Ok), found
    return found


async def refused(instance: Instance, way: str) -> tuple[str, str]:
    found = failure(await invoke(instance, way))
    assert found.kind == "error"
    return found.code, found.message


async def test_it_answers_with_its_log_and_is_started_from_one_template(bench: Bench) -> None:
    instance, kind = await bench.tree.start(spec(bench))
    first = answer(await instance.invoke(event(b'{"n": 1}'), start=kind))
    second = answer(await instance.invoke(event(b'{"n": 2}')))
    other, other_kind = await bench.tree.start(spec(bench), ahead=True)
    third = answer(await other.invoke(event(b'{"n": 3}'), start=other_kind))

    assert (first["got"], first["start"], first["attempt"]) == ({"n": 1}, kind, 1)
    assert (second["got"], second["start"], second["pid"]) == ({"n": 2}, "warm", first["pid"])
    assert (other_kind, third["start"]) == ("fork", "fork")
    assert other.pid != instance.pid
    lines = {line.text: line for line in bench.lines}
    assert lines["called with { n: 1 }"].level == "info"
    assert lines["called with { n: 1 }"].invocation is not None
    for one in (instance, other):
        one.leave()


UNLOADABLE = {
    "index:absent": ("HandlerNotFound", r"does not exist: index.js exports .*handler, sync", ""),
    "index:nothing": ("HandlerNotFound", "is not a function, it is a number", ""),
    "absent:handler": ("ImportModuleError", r"there is no absent\.js", ""),
    "broken/syntax:handler": ("SyntaxError", "Unexpected token", "syntax.js:2"),
    "broken/dependency:handler": ("ImportModuleError", "'absent-library'; run npm install absent-library", ""),
    "broken/imports:handler": ("SyntaxError", "the module 'broken/imports': Unexpected token ';'", "imported.mjs:2"),
    "broken/absent:handler": ("ImportModuleError", "Cannot find module 'broken/nowhere.mjs' .* broken/absent.mjs$", ""),
    "broken/raises:handler": ("InitFailed", "Error: no database today", "raises.js:2"),
    "broken/exits:handler": ("InitFailed", "did not return: it ended its process with exit code 7", ""),
    "broken/late:handler": ("InitFailed", "Error: no database later", "late.mjs:2"),
    "broken/stalls:handler": ("InitFailed", "a top-level await waits for a promise that nothing settles", ""),
    "broken/spins:handler": ("InitTimeout", "took longer than init_timeout, 2 s", "spins.js:2"),
}
"""By handler: the code and the message of the failure, and what is in its traceback."""


async def test_what_cannot_be_loaded_says_why(bench: Bench) -> None:
    for handler, (code, message, where) in UNLOADABLE.items():
        limit_s = 2.0 if "spins" in handler else 30.0
        with pytest.raises(LoadFailed, match=message) as failed:
            await bench.tree.start(spec(bench, handler, init_timeout_s=limit_s, grace_s=5.0))
        assert failed.value.code == code
        assert where in failed.value.traceback


async def test_libraries_that_pnpm_has_linked_are_told_how_to_install_them(bench: Bench) -> None:
    settings = {"name": "linked", "runtime": spec(bench).runtime, "rehearsal": "none"}
    function = bench.spec("node/linked", "index:handler", **settings)
    with pytest.raises(LoadFailed, match=r"'second'; pnpm has made .*: run pnpm install --node-linker=hoisted$"):
        await bench.tree.start(function)


async def test_options_of_node_are_the_functions_own(bench: Bench) -> None:
    options = ["--no-deprecation", "--pending-deprecation", "--throw-deprecation"]
    if 20 <= major() < 23:
        options.append("--experimental-default-type=module")  # as a package.json above the state directory may say
    for option in options:
        function = spec(bench, "mocks:handler", name=option.strip("-").partition("=")[0], env={"NODE_OPTIONS": option})
        assert await bench.answer(function) is True


async def test_node_tells_what_it_loads_if_it_is_asked_to(bench: Bench) -> None:
    assert await bench.answer(spec(bench, "mocks:handler", env={"NODE_DEBUG": "module"})) is True
    await until(lambda: any(line.text.startswith("MODULE ") and "mocks.cjs" in line.text for line in bench.lines))


async def test_a_function_may_replace_what_the_guest_calls(bench: Bench) -> None:
    assert await bench.answer(spec(bench, "mocks:handler", init_timeout_s=5.0)) is True


async def test_modules_of_both_kinds_and_their_dependencies(bench: Bench) -> None:
    found = await bench.call(spec(bench, "module/app:orders.handler"), "you")
    assert isinstance(found, Ok), found
    assert found.body.startswith(b"hello, you: ")
    assert await bench.answer(spec(bench, "module/app:default")) == "the default"
    assert await bench.answer(spec(bench, "index:called")) == "called back"
    assert await bench.answer(spec(bench, "whole:default"), 1) == 1


async def test_results_outputs_and_errors(bench: Bench) -> None:
    instance, _ = await bench.tree.start(spec(bench, "index:way"))
    ok, failed = partial(succeeded, instance), partial(refused, instance)
    assert ((found := await ok("nothing")).status, found.body, found.content_type) == (204, b"", None)
    assert ((found := await ok("text")).body.decode(), found.content_type) == ("grüße", "text/plain; charset=utf-8")
    assert ((found := await ok("bytes")).body, found.content_type) == (b"\x01\x02", "application/octet-stream")
    assert ((found := await ok("data")).status, found.body) == (200, b'{"status":"shipped"}')
    found = await ok("response")
    assert (found.status, found.content_type, found.body) == (201, "text/html", b"<p>")
    assert found.headers == (("X-A", "1"), ("X-A", "2"))
    found = await ok("lambda")
    assert (found.status, found.headers, found.body) == (202, (("Set-Cookie", "a=1"),), b"\x01\x02")
    assert ((found := await ok("fetch")).status, found.body) == (203, b"hi")
    assert json.loads((await ok("event")).body)["body"] == "ImV2ZW50Ig=="
    traced = await instance.invoke(event(b'"trace"', id='order]{"17'))
    assert answer(traced) == begin_trace('order]{"17')
    sent, spawned = (await ok("outputs")).outputs
    assert (sent.kind, sent.name, sent.body, sent.delay_s, sent.headers) == (
        "send",
        "orders",
        b'{"n":1}',
        2.0,
        {"a": "b"},
    )
    assert (spawned.kind, spawned.name, spawned.body, spawned.id) == ("spawn", "other", b"xy", "own")

    again = failure(await invoke(instance, "retry"))
    assert (again.code, again.retry_after_s) == ("Retry", 5.0)
    assert await failed("reject") == ("Rejected", "never")
    broken = failure(await invoke(instance, "broken"))
    assert broken.code == "TypeError"
    assert "index.js:" in broken.traceback
    assert "guest.js" not in broken.traceback
    assert (await failed("system"))[0] == "ENOENT"
    assert (await failed("generator"))[0] == "Unencodable"
    assert (await failed("large"))[0] == "ResultTooLarge"
    assert await failed("bigint") == ("Unencodable", "$.a[0]: a BigInt cannot be encoded: make it a number or text")
    assert (await failed("ours"))[0] == "app.Undecodable"
    assert await failed("text_thrown") == ("string", "only text")
    instance.leave()


async def test_results_and_errors_of_odd_kinds(bench: Bench) -> None:
    instance, _ = await bench.tree.start(spec(bench, "index:way"))
    ok, failed = partial(succeeded, instance), partial(refused, instance)
    halved = failure(await invoke(instance, "halved"))
    assert (halved.code, halved.message) == ("Error", "x" * (8 * 1024 - 1) + "\ufffd")
    assert "x\ufffd" not in halved.traceback
    assert "😀 \\ud83d" in halved.traceback
    (sent,) = (await ok("half_headed")).outputs
    assert sent.headers == {"\ufffd": "\\ud83d"}
    assert (await failed("no_response"))[0] == "Unencodable"
    assert (await failed("body_stream"))[1].startswith("$.body: the handler returned a stream")
    assert ((found := await ok("empty_response")).status, found.content_type) == (204, None)
    several = failure(await invoke(instance, "several"))
    assert several.code == "AggregateError"
    assert several.traceback.count("of several: Error: ") == 2
    assert "caused by no stack" in failure(await invoke(instance, "caused")).traceback
    assert await failed("shows_nothing") == ("Error", "(the error cannot be shown)")
    instance.leave()


async def test_what_it_prints_and_logs_has_its_level_and_its_call(bench: Bench) -> None:
    instance, _ = await bench.tree.start(spec(bench, "index:way"))
    await invoke(instance, "child")
    await invoke(instance, "shown")
    await invoke(instance, "halved")
    instance.leave()
    await until(lambda: any(line.text == "broken" for line in bench.lines))
    lines = {line.text: line for line in bench.lines}
    assert "too low" not in lines
    assert lines["two\nlines"].level == "warning"
    (printed,) = (line for line in bench.lines if line.text.startswith("RangeError: printed\n"))
    assert printed.level == "error"
    assert lines["unfinished"].level == ""
    assert [lines[str(n) * 10_000].level for n in range(9)] == ["info"] * 9, "too long for one entry"
    assert json.loads(bytes(lines["sold"].extra)) == {"order": 7}
    assert "TypeError: logged" in lines["broken"].traceback
    assert lines["half\n\ufffd"].level == "info"
    assert len({line.invocation for line in bench.lines}) == 3
    assert None not in {line.invocation for line in bench.lines}


async def test_the_last_call_of_an_instance_is_answered_whole(bench: Bench) -> None:
    instance, _ = await bench.tree.start(spec(bench, "index:sync"), calls=1)
    found = await instance.invoke(event(b"x" * 4_000_000, datacontenttype="application/octet-stream"))
    assert isinstance(found, Ok), found
    assert len(found.body) == 4_000_000
    await until(lambda: instance.is_dead)


PARTS = (
    b'--B\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
    b'--B\r\nContent-Disposition: form-data; name="f"; filename="x.bin"\r\n\r\n\x01\r\n--B--'
)
FILE = {"name": "f", "filename": "x.bin", "content_type": None, "body": "AQ=="}
DECODED: list[tuple[str, bytes, Any]] = [
    ("application/x-www-form-urlencoded", b"a=1&a=2&b=%C3%BC+x", {"a": ["1", "2"], "b": "ü x"}),
    ("application/json", '{"a": "ü"}'.encode("utf-16"), {"a": "ü"}),
    ("text/plain; charset=latin1", b"\xfc", "ü"),
    ("multipart/form-data; boundary=B", PARTS, {"fields": {"a": "1"}, "files": [FILE]}),
]


async def test_bodies_of_every_size_and_kind(bench: Bench) -> None:
    instance, _ = await bench.tree.start(spec(bench, "index:sync"))
    for size in (0, 10, 16 * 1024, 200 * 1024, 300 * 1024, 3 * 1024 * 1024):
        body = b"x" * size
        found = await instance.invoke(event(body, datacontenttype="application/octet-stream"))
        assert isinstance(found, Ok), found
        assert found.body == body
    for content_type, body, expected in DECODED:
        assert answer(await instance.invoke(event(body, datacontenttype=content_type))) == expected
    refused = failure(await instance.invoke(event(b"{", datacontenttype="application/json")))
    assert refused.code == "Undecodable"
    instance.leave()


async def test_a_timeout_says_where_the_handler_was(bench: Bench) -> None:
    for handler, survives, stack in (
        ("index:obeys", True, "AbortError"),
        ("index:waits", False, "active: Timeout"),
        ("index:spins", False, "at spin "),
    ):
        instance, _ = await bench.tree.start(spec(bench, handler, timeout_s=0.2, grace_s=0.3))
        found = failure(await invoke(instance, None))
        assert (found.kind, found.code) == ("timeout", "Timeout")
        assert stack in found.traceback
        assert instance.is_serving is survives
        instance.leave()


async def test_an_error_that_nobody_catches_fails_its_call_and_ends_the_process(bench: Bench) -> None:
    instance, _ = await bench.tree.start(spec(bench, "index:late"))
    found = failure(await invoke(instance, None))
    assert (found.kind, found.code) == ("error", "TypeError")
    assert "index.js:" in found.traceback
    assert not instance.is_serving
    await until(lambda: instance.is_dead)


@pytest.mark.parametrize("level", levels())
async def test_a_heap_that_is_full_is_too_much_memory(bench: Bench, level: Level) -> None:
    """In a box, where the first process cannot abort, too."""
    limits = Limits(memory_bytes=96 * 1024 * 1024)
    found = await bench.failure(spec(bench, "index:fills", limits=limits, containment=contained(level)))
    assert (found.kind, found.code) == ("crash", "MemoryExceeded")


async def test_calls_in_one_instance_overlap_and_keep_their_lines_apart(bench: Bench) -> None:
    instance, _ = await bench.tree.start(spec(bench, "index:together", concurrency=3, timeout_s=0.5, grace_s=5.0))
    names = ("a", "b", "late")
    outcomes = await asyncio.gather(*(invoke(instance, name) for name in names))
    assert [answer(one)["most"] for one in outcomes[:2]] == [3, 3]
    assert isinstance(outcomes[2], Failed)
    assert outcomes[2].kind == "timeout"
    assert instance.is_serving
    instance.leave()
    await until(lambda: sum(line.text.startswith("ends ") for line in bench.lines) == len(names))
    of = {line.text: line.invocation for line in bench.lines}
    assert len({of[f"begins {name}"] for name in names}) == len(names)
    assert all(of[f"begins {name}"] == of[f"ends {name}"] for name in names)


async def test_a_process_of_a_sealed_copy_cannot_be_inspected_by_its_own_user(bench: Bench) -> None:
    (copy := bench.code / "sealed").mkdir(mode=0o755)
    made = copy_of(Path(shutil.which("node") or ""), copy)
    runtime = Runtime(name="sealed", kind="node", python=bench.runtime.python, command=(str(made),))
    instance, _ = await bench.tree.start(spec(bench, runtime=runtime))
    assert answer(await invoke(instance, 1))["got"] == 1
    assert os.stat(f"/proc/{instance.pid}/environ").st_uid == 0, "it belongs to the process's user otherwise"
    assert copy_of(Path(shutil.which("node") or ""), copy) == made

    os.kill(instance.pid, signal.SIGUSR1)
    await until(lambda: any("inspector" in line.text or "Debugger" in line.text for line in bench.lines))
    assert not any("ws://" in line.text for line in bench.lines)
    assert answer(await invoke(instance, 2))["got"] == 2, "it goes on"
    instance.leave()
