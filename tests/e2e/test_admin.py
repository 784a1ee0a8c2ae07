"""Health, readiness and metrics over the control socket and TCP, and who may ask."""

import asyncio
import json
import re
import signal
import stat
import time

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.kit.application import Gate, application, function
from tests.kit.served import Server, eventually, serving

pytestmark = pytest.mark.ordinary_user
ADMIN = '[admin]\nlisten = "127.0.0.1:0"\n'


async def _over_tcp(server: Server, resource: str, host: str | None = None) -> tuple[int, str]:
    port = (await server.wait_said(r"health and metrics on port (\d+)"))[1]
    headers = {"Host": host} if host else {}
    async with server.http.get(f"http://127.0.0.1:{port}{resource}", headers=headers) as response:
        return response.status, await response.text()


async def test_the_control_socket_is_for_its_owner() -> None:
    with application(function("echo")) as folder:
        async with serving(folder) as server:
            mode = (server.state / "control.sock").stat().st_mode
            assert (stat.S_ISSOCK(mode), stat.S_IMODE(mode)) == (True, 0o600)
            for resource, text in (("/healthz", b"ok\n"), ("/readyz", b"ready\n")):
                reply = await server.ask(resource)
                assert (reply.status, reply.body) == (200, text)


async def test_over_tcp_there_are_probes_and_no_more() -> None:
    with application(function("echo") + ADMIN) as folder:
        async with serving(folder) as server:
            assert await _over_tcp(server, "/healthz") == (200, "ok\n")
            assert await _over_tcp(server, "/readyz") == (200, "ready\n")
            assert (await _over_tcp(server, "/logs"))[0] == 404
            assert (await _over_tcp(server, "/status"))[0] == 404
            assert (await _over_tcp(server, "/metrics", host="rebound.example"))[0] == 403
            assert (await _over_tcp(server, "/metrics", host="localhost"))[0] == 200


def _without_values(text: str) -> list[str]:
    return [line if line.startswith("#") else line.rpartition(" ")[0] for line in text.splitlines()]


async def test_the_metrics_count_what_happened() -> None:
    with application(function("echo") + function("fail") + ADMIN) as folder:
        async with serving(folder) as server:
            for _ in range(3):
                await server.post("/echo", 1)
            await server.get("/fail")
            _, text = await _over_tcp(server, "/metrics")
            again = (await server.ask("/metrics")).body.decode()
            assert _without_values(text) == _without_values(again)  # some grow with time
    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert samples["forklight_invocations_total", "echo", "ok"] == 3
    assert samples["forklight_invocations_total", "error", "fail"] == 1
    assert samples["forklight_failures_total", "RuntimeError", "fail"] == 1
    assert samples["forklight_starts_total", "echo", "warm"] == 2
    assert samples["forklight_invocation_duration_seconds_count", "echo"] == 3
    assert samples["forklight_invocation_duration_seconds_bucket", "+Inf", "echo"] == 3
    assert samples["forklight_instances", "echo", "idle"] == 1


async def test_while_draining_it_lives_and_is_not_ready() -> None:
    with application(function("wait") + ADMIN) as folder:
        gate = Gate(folder)
        async with serving(folder) as server:
            running = asyncio.create_task(server.post("/wait", gate.request))
            async with gate.held():
                server.send(signal.SIGTERM)

                async def is_draining() -> bool:
                    return await _over_tcp(server, "/readyz") == (503, "draining\n")

                await eventually(is_draining)
                assert await _over_tcp(server, "/healthz") == (200, "ok\n")
                assert ", draining" in (await server.run("ps")).stdout
                with pytest.raises(aiohttp.ClientConnectorError):
                    async with aiohttp.ClientSession() as fresh:
                        await fresh.get(server.url)
            assert (await running).status == 200
            assert await server.wait() == 0


BROKEN = """
import no_such_library

def handler(event): ...
"""
TIMER = """
[functions.report]
handler = "report:handler"
timer = [{ name = "often", every = "1s" }]
"""


async def test_a_timer_that_cannot_run_is_told_until_it_can_also_after_a_restart() -> None:
    sample = re.compile(r'forklight_timer_(\w+)\{function="report",timer="often"\} (\S+)')

    async def measured(server: Server) -> dict[str, float]:
        found = sample.findall((await server.ask("/metrics")).body.decode())
        return {name: float(value) for name, value in found}

    with application(function("echo") + TIMER, report=BROKEN) as folder:
        async with serving(folder) as server:

            async def has_failed() -> bool:
                return (await measured(server))["consecutive_failures"] > 0

            await eventually(has_failed)
            failed = await measured(server)
            assert abs(failed["last_failure_timestamp_seconds"] - time.time()) < 60
            assert "last_success_timestamp_seconds" not in failed
            assert failed["next_run_timestamp_seconds"] > failed["last_failure_timestamp_seconds"] - 1
            shown = await server.run("ps")
        toml = (folder / "forklight.toml").read_text()
        (folder / "forklight.toml").write_text(toml.replace('every = "1s"', 'schedule = "0 0 1 1 *"'))
        async with serving(folder) as server:
            assert (await measured(server))["consecutive_failures"] >= failed["consecutive_failures"]
            [told] = json.loads((await server.run("timers", "--json")).stdout)
    assert re.search(
        r"timer often of report: the latest (run|\d+ runs) failed, at 20.*load/ImportModuleError", shown.stdout
    )
    assert "none has succeeded yet" in shown.stdout
    assert (told["failures"] > 0, told["succeeded"], told["error"][:24]) == (True, None, "load/ImportModuleError: ")


async def test_doctor_tells_what_the_server_has() -> None:
    with application(function("echo", isolation="limits") + function("pid", isolation="best")) as folder:
        async with serving(folder) as server:
            status = (await server.ask("/status")).json()
            by_name = {one["name"]: one["isolation"] for one in status["functions"]}
            assert by_name == {"echo": "limits", "pid": status["isolation"]["level"]}
            assert await server.wait_said(r"^  isolation: .*limits.* \(forklight doctor says more\)$")
            told = json.loads((await server.run("doctor", "--json")).stdout)
            assert told["pid"] == server.process.pid
            assert {one["name"]: one["level"] for one in told["functions"]} == by_name
            in_force = [one["name"] for one in told["mechanisms"] if one["in_force"]]
            assert sorted(in_force) == sorted(status["isolation"]["in_force"])
