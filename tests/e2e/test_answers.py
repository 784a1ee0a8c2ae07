"""What a client gets for every way a call can go, and what of it is in the log alone."""

import asyncio
from typing import Any

import pytest

from tests.kit.application import Gate, application, function
from tests.kit.served import Reply, Server, serving
from tests.kit.support import until

pytestmark = pytest.mark.any_user


def _problem(reply: Reply) -> Any:
    """The problem document (RFC 9457) of a reply that must be one."""
    assert reply.headers["Content-Type"] == "application/problem+json"
    problem = reply.json()
    assert problem["status"] == reply.status
    return problem


async def _logged(server: Server, problem: Any) -> dict[str, Any]:
    """The log's line on the invocation that a problem names."""
    [entry] = await until(
        lambda: [entry for entry in server.entries(invocation=problem["invocation_id"]) if "outcome" in entry]
    )
    return dict(entry)


async def test_what_no_function_is_asked_for() -> None:
    toml = function("fail", http="GET /fail") + '[functions.echo]\nhandler = "f:echo"\n'
    toml += '[[functions.echo.http]]\npath = "/echo"\nmax_body = "1KiB"\n'
    with application(toml) as folder:
        async with serving(folder) as server:
            unknown = await server.get("/nothing")
            assert (unknown.status, _problem(unknown)["title"]) == (404, "Not Found")
            wrong = await server.post("/fail", 1)
            assert (wrong.status, wrong.headers["Allow"]) == (405, "GET, HEAD, OPTIONS")
            large = await server.request("POST", "/echo", data=b"x" * 1025)
            assert (large.status, _problem(large)["title"]) == (413, "Request Entity Too Large")
            broken = await server.request("POST", "/echo", data=b"{", headers={"Content-Type": "application/json"})
            assert (broken.status, _problem(broken)["code"]) == (400, "Undecodable")
            fits = await server.request("POST", "/echo", data=b"x" * 1024)
            assert (fits.status, len(fits.body)) == (200, 1024)


async def test_a_failure_tells_the_client_nothing_but_where_to_look() -> None:
    with application(function("fail")) as folder:
        async with serving(folder) as server:
            failed = await server.get("/fail")
            problem = _problem(failed)
            assert (failed.status, problem["code"]) == (500, "RuntimeError")
            assert b"secret" not in failed.body
            assert b"Traceback" not in failed.body
            entry = await _logged(server, problem)
            assert (entry["outcome"], entry["status"]) == ("error/RuntimeError", 500)
            assert entry["text"] == "the secret is 42"
            assert 'raise RuntimeError("the secret is 42")' in entry["traceback"]
            assert "_forklight" not in entry["traceback"], "our own frames are cut"
            shown = await server.run("ps")
            assert "fail: last failure: error/RuntimeError: the secret is 42" in shown.stdout


async def test_a_timeout() -> None:
    with application(
        function("hang", timeout="200ms", spare=0) + function("stubborn", timeout="200ms", grace="100ms", spare=0)
    ) as folder:
        async with serving(folder) as server:
            for name in ("hang", "stubborn"):
                late = await server.get(f"/{name}")
                problem = _problem(late)
                assert (late.status, problem["code"]) == (504, "Timeout")
                entry = await _logged(server, problem)
                assert entry["outcome"] == "timeout/Timeout"
                assert f"in {name}" in entry["traceback"], "it says where the handler was"
            await until(lambda: not server.instances())


async def test_a_crash() -> None:
    with application(function("crash")) as folder:
        async with serving(folder) as server:
            for _ in range(3):
                crashed = await server.get("/crash")
                assert (crashed.status, _problem(crashed)["code"]) == (502, "Signal")
            assert (await server.status("crash"))["failures"] == {"Signal": 3}


async def test_a_function_that_cannot_load_fails_at_once_with_the_stored_reason() -> None:
    toml = '[functions.lost]\nhandler = "lost:handler"\nhttp = "/lost"\n' + function("echo")
    with application(toml, lost="import no_such_module\n") as folder:
        async with serving(folder) as server:
            for _ in range(2):
                failed = await server.get("/lost")
                problem = _problem(failed)
                assert (failed.status, problem["code"]) == (502, "ImportModuleError")
                assert 1 <= int(failed.headers["Retry-After"]) <= 60
                assert "no_such_module" in (await _logged(server, problem))["text"]
            shown = await server.run("ps")
            assert "lost: ImportModuleError: " in shown.stdout
            assert "no_such_module" in shown.stdout
            assert (await server.post("/echo", 1)).status == 200, "the neighbour is well"


async def test_beyond_capacity_a_client_is_told_when_to_come_back() -> None:
    toml = function("wait", max_instances=1, max_waiting=0)
    with application(toml) as folder:
        gate = Gate(folder)
        async with serving(folder) as server:
            running = asyncio.create_task(server.post("/wait", gate.request))
            async with gate.held():
                refused = await server.post("/wait", gate.request)
                assert (refused.status, _problem(refused)["code"]) == (429, "QueueFull")
                assert int(refused.headers["Retry-After"]) >= 1
            assert (await running).status == 200
            assert (await server.status("wait"))["failures"] == {"QueueFull": 1}


async def test_who_waits_too_long_is_sent_away() -> None:
    with application(function("wait", max_instances=1, reserved=1, max_wait="50ms")) as folder:
        gate = Gate(folder)
        async with serving(folder) as server:
            await server.wait_instances("wait", spare=1)
            running = asyncio.create_task(server.post("/wait", gate.request))
            async with gate.held():
                expired = await server.post("/wait", gate.request)
                assert (expired.status, _problem(expired)["code"]) == (503, "WaitExpired")
                assert int(expired.headers["Retry-After"]) >= 1
            assert (await running).status == 200
