"""`serve --debug` logs decisions, and SIGUSR1 prints what lives in a server, which goes on."""

import re
import signal

import pytest

from tests.kit.application import application, function
from tests.kit.served import Server, serving

pytestmark = pytest.mark.any_user
TOML = function("pid", queue="orders", timer="@yearly")


async def _picture(server: Server) -> str:
    server.said.clear()
    server.send(signal.SIGUSR1)
    await server.wait_said(r"<TimerRunner")
    return "".join(server.said)


async def test_the_signal_prints_the_picture_and_the_server_goes_on() -> None:
    with application(TOML) as folder:
        async with serving(folder) as server:
            await server.get("/pid")
            for _ in range(2):
                shown = await _picture(server)
                assert re.findall(r"^(\w+): [1-9]\d*$", shown, re.MULTILINE) == [
                    *("tasks", "pools", "zygotes", "templates", "instances", "triggers")
                ]
                assert re.search(r"^  .+ at /.+\.py:\d+$", shown, re.MULTILINE)
                assert re.search(r"<Runner of pid \w+: serving, (1 spare, )?1 idle", shown)
                assert "orders" in shown
            assert (await server.get("/pid")).json()["calls"] == 2
            assert "DEBUG" not in "".join(server.said)
            assert await server.end() == 0


async def test_the_signal_ends_no_server_that_drains() -> None:
    with application(function("pid")) as folder:
        async with serving(folder) as server:
            server.send(signal.SIGTERM)
            for _ in range(200):
                server.send(signal.SIGUSR1)
            assert await server.wait() == 0


async def test_decisions_are_logged_with_ids() -> None:
    with application(TOML) as folder:
        async with serving(folder, "--debug") as server:
            reply = await server.get("/pid")
            assert (await server.run("send", "orders", "-d", "1")).status == 0
            await server.wait_said(r"DEBUG triggers\.queue\.settler: queue orders: message \S+: Ack\(\)")
            server.send(signal.SIGTERM)
            await server.wait_said(r"DEBUG sandbox\.tree: pid: template \d+ is gone")
        said = "".join(server.said)
    assert re.search(r"DEBUG sandbox\.tree: runtime default: a zygote is started", said)
    assert f"DEBUG dispatcher.runner: pid: event {reply.headers['X-Forklight-Id']} waits" in said
    assert re.search(r"DEBUG dispatcher\.runner: pid: the pool decides: Start\(ahead=False", said)
