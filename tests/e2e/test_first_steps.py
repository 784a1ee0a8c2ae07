"""What a stranger does first: init, serve, curl, ps, logs, Ctrl-C. Every command is the installed one."""

import asyncio
import json
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from tests.kit import installed
from tests.kit.application import application, function, open_folder
from tests.kit.served import ENVIRON, run, serving, started

MYPY = ("-m", "mypy", "--strict", "--config-file", "", "--cache-dir", os.devnull)


@pytest.mark.ordinary_user
async def test_from_init_to_the_end() -> None:
    with open_folder() as folder:
        written = await run("init", "app", cwd=folder)
        assert (written.status, written.stderr) == (0, "")
        assert "Now: forklight dev app" in written.stdout
        async with serving(folder, "app") as server:
            assert await server.wait_said(r"^  GET /greet/\{name\}  greet$")
            assert await server.wait_said(r"^Try: curl http://127\.0\.0\.1:\d+/greet/world$")
            greeted = await server.get("/greet/Ada")
            assert (greeted.status, greeted.json()) == (200, {"hello": "Ada"})
            assert greeted.start in ("fork", "load", "boot")
            again = await server.get("/greet/Grace")
            assert (again.json(), again.start) == ({"hello": "Grace"}, "warm")
            total = await server.post("/total", {"numbers": [1, 2, 3]})
            assert total.json() == {"total": 6}

            shown = await server.run("ps", "app")
            [greet] = [line.split() for line in shown.stdout.splitlines() if line.startswith("greet ")]
            assert (greet[2], greet[4]) == ("ready", "0")
            assert greet[3] in ("1", "1+1"), "one has run something, and a spare starts after it"
            assert f"pid {server.process.pid}, up " in shown.stdout
            told = json.loads((await server.run("ps", "app", "--json")).stdout)
            assert [(one["name"], one["outcomes"]) for one in told["functions"]] == [
                ("greet", {"ok": 2}),
                ("total", {"ok": 1}),
            ]
            logged = await server.run("logs", "greet", "-c", "app")
            assert "INFO greet: greeting Ada" in logged.stdout
            assert "total" not in logged.stdout
            assert await server.end() == 0


@pytest.mark.any_user
async def test_what_one_tries_first_is_answered() -> None:
    with open_folder() as folder:
        version = await run("--version", cwd=folder)
        assert version.status == 0
        assert re.fullmatch(r"forklight \d+\.\d+\.\d+( \(compiled\))?\n", version.stdout)
        commands = (await run("--help", cwd=folder)).stdout.partition("Commands:")[2]
        assert re.search(r"^  why +Explain where the time of one invocation went\.$", commands, re.MULTILINE)
        assert "..." not in commands, "no summary is cut"
        misspelt = await run("serv", cwd=folder)
        assert misspelt.status == 2
        assert "there is no command 'serv' (did you mean 'serve'?)" in misspelt.stderr


@pytest.mark.any_user
@pytest.mark.parametrize(
    "runner", [("unittest",), ("pytest", "-c", os.devnull, "--rootdir", ".")], ids=lambda words: words[0]
)
async def test_the_starter_has_tests_that_pass(runner: tuple[str, ...]) -> None:
    with open_folder() as folder:
        assert (await run("init", cwd=folder)).status == 0
        tested = await _python("-m", *runner, cwd=folder)
        assert tested.returncode == 0, tested.stdout
        assert re.search("Ran 3 tests|3 passed", tested.stdout)
        assert (await run("init", cwd=folder)).status == 2, "a folder that has something in it is left alone"


@pytest.mark.any_user
async def test_mypy_knows_the_types_of_an_installed_forklight() -> None:
    code = "from forklight.types import Http\ndef path(http: Http) -> str:\n    return http['{}']\n"
    with open_folder() as folder:
        for key, status in (("path", 0), ("params", 1), ("paths", 1)):
            (folder / "typed.py").write_text(code.format(key))
            checked = await _python(*MYPY, "typed.py", cwd=folder)
            assert checked.returncode == status, checked.stdout


async def _python(*arguments: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    """The interpreter that has the installed Forklight."""
    command = [str(installed.command().with_name("python")), *arguments]

    def run_it() -> "subprocess.CompletedProcess[str]":
        return subprocess.run(  # noqa: PLW1510  it fails where a test wants it to
            command, cwd=cwd, env=ENVIRON, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=50
        )

    return await asyncio.to_thread(run_it)


@pytest.mark.any_user
async def test_a_single_file_needs_no_configuration() -> None:
    with application("") as folder:
        (folder / "solo.py").write_text("def handler(event):\n    return event['http']['method']\n")
        async with serving(folder, "solo.py") as server:
            assert (await server.get("/")).body == b"GET"
            assert (await server.request("DELETE", "/")).body == b"DELETE"
            assert (await server.get("/other")).status == 404


@pytest.mark.any_user
async def test_control_c_ends_it_like_a_signal() -> None:
    with application(function("echo")) as folder:
        async with serving(folder) as server:
            assert await server.end(signal.SIGINT) == 0


@pytest.mark.any_user
async def test_logs_follow_until_the_server_ends() -> None:
    with application(function("echo") + function("talk")) as folder:
        async with serving(folder) as server, started("logs", "-f", "talk", "--json", cwd=folder) as follower:
            assert follower.stdout is not None
            await server.get("/talk")
            await server.post("/echo", 1)
            lines = [json.loads(await asyncio.wait_for(follower.stdout.readline(), 30)) for _ in range(3)]
            assert [(line["function"], line.get("text"), line.get("outcome")) for line in lines] == [
                ("talk", "printed", None),
                ("talk", "WARNING talk: logged", None),
                ("talk", None, "ok"),
            ]
            assert len({line["invocation"] for line in lines}) == 1
            assert await server.end() == 0
            assert await asyncio.wait_for(follower.wait(), 30) == 0


@pytest.mark.any_user
async def test_a_function_that_idles_has_no_instances_but_the_reserved() -> None:
    with application(function("pid", keep_alive="100ms") + function("echo", keep_alive="100ms", reserved=1)) as folder:
        async with serving(folder) as server:
            first = (await server.get("/pid")).json()["pid"]
            await server.wait_instances("pid", starting=0, idle=0, spare=0, busy=0, leaving=0)
            second = await server.get("/pid")
            assert second.json()["pid"] != first
            assert second.start == "fork", "the template stays"
            await server.wait_instances("pid", idle=0)
            await server.wait_instances("echo", idle=0, spare=1)
