"""Reloads under load: not a request is dropped, the new code answers afterwards, and nothing stays of the old."""

import asyncio
import json
import signal
from pathlib import Path

import pytest

from tests.kit.application import Gate, application, function, open_folder
from tests.kit.load import Load
from tests.kit.rounds import rounds
from tests.kit.runtimes import bare_environment, site_packages
from tests.kit.served import Server, eventually, serving
from tests.kit.support import is_gone, until

pytestmark = pytest.mark.any_user

RELOADS = rounds(5, 20)
CODE = """
import os

def pid(event):
    return {"number": NUMBER, "pid": os.getpid()}

def wait(event):
    with open(event["data"]["gate"]) as gate:
        gate.read()
    return NUMBER
"""


def write(folder: Path, number: int) -> None:
    """The code that answers with this number; at once, as editors save."""
    new = folder / "f.py.new"
    new.write_text(CODE.replace("NUMBER", str(number)))
    new.rename(folder / "f.py")


async def number(server: Server) -> int:
    return int((await server.get("/pid")).json()["number"])


@pytest.mark.timeout(300)
@pytest.mark.parametrize("keep_alive", [True, False], ids=["kept connections", "a connection each"])
async def test_no_request_is_dropped_by_many_reloads(keep_alive: bool) -> None:
    with application(function("pid", max_instances=4, reserved=1)) as folder:
        write(folder, 0)
        async with serving(folder, "--quiet") as server:
            load = Load(server.url, "/pid", keep_alive=keep_alive)
            async with load.on(16):
                for count in range(1, RELOADS + 1):
                    await load.answer(100)
                    write(folder, count)
                    done = await server.run("reload")
                    assert (done.status, done.stdout) == (0, "reloaded: pid changed\n"), done.stderr
                    assert await number(server) == count
            assert (load.broken, load.refused, set(load.answers)) == ([], 0, {200})
            await until(lambda: len(server.templates()) == 1)
            await eventually(lambda: _one_version(server))


async def _one_version(server: Server) -> bool:
    """Whether no snapshot is left but of what is served; they are removed at a reload."""
    await server.run("reload")
    return len(list((server.state / "versions").iterdir())) == 1


async def test_what_runs_finishes_on_the_old_code_and_then_its_processes_end() -> None:
    with application(function("wait") + function("pid")) as folder:
        write(folder, 1)
        gate = Gate(folder)
        async with serving(folder) as server:
            running = asyncio.create_task(server.post("/wait", gate.request))
            async with gate.held():
                old = set(server.templates())
                write(folder, 2)
                assert (await server.run("reload")).status == 0
                assert await number(server) == 2
                assert old & set(server.templates())
            assert (await running).json() == 1
            await until(lambda: all(map(is_gone, old)))


async def test_sighup_reloads() -> None:
    with application(function("pid")) as folder:
        write(folder, 1)
        async with serving(folder) as server:
            assert await number(server) == 1
            write(folder, 2)
            server.send(signal.SIGHUP)
            await server.wait_said("^reloaded: pid changed$")
            assert await number(server) == 2


async def test_a_server_that_drains_finishes_what_it_has_and_reloads_no_more() -> None:
    with application(function("wait") + function("pid")) as folder:
        write(folder, 1)
        gate = Gate(folder)
        async with serving(folder) as server:
            running = asyncio.create_task(server.post("/wait", gate.request))
            async with gate.held():
                server.send(signal.SIGTERM)

                async def is_draining() -> bool:
                    return (await server.ask("/readyz")).status == 503

                await eventually(is_draining)
                done = await server.run("reload")
                assert (done.status, done.stderr) == (1, "the server is shutting down\n")
                server.send(signal.SIGHUP)
                assert (await server.ask("/readyz")).status == 503
            assert (await running).json() == 1
            assert await server.wait() == 0


async def test_a_reload_that_still_loads_does_not_hold_up_the_end() -> None:
    with application(function("pid", init_timeout="1h")) as folder:
        write(folder, 1)
        async with serving(folder) as server:
            (folder / "f.py").write_text("import time\nprint('loading', flush=True)\ntime.sleep(1000)\n")
            reloading = asyncio.create_task(server.run("reload"))
            await until(lambda: server.entries(text="loading"))
            assert await server.end() == 0
            assert (await reloading).status == 1


async def test_a_function_that_does_not_load_leaves_everything_as_it_was() -> None:
    with application(function("pid") + function("wait")) as folder:
        write(folder, 1)
        async with serving(folder) as server:
            (folder / "f.py").write_text("import no_such_module")
            done = await server.run("reload")
            assert done.status == 1
            assert "pid: load/ImportModuleError: " in done.stderr
            assert "no_such_module" in done.stderr
            assert await number(server) == 1
            told = json.loads((await server.run("reload", "--json")).stdout)
            assert (told["ok"], [one["function"] for one in told["failures"]]) == (False, ["pid", "wait"])


async def test_every_problem_of_the_configuration_is_told_with_its_place() -> None:
    toml = function("pid")
    with application(toml) as folder:
        write(folder, 1)
        async with serving(folder) as server:
            (folder / "forklight.toml").write_text(toml + 'timeuot = "1s"\n[functions.other]\nhandler = "x"\n')
            done = await server.run("reload")
            assert done.status == 2
            assert "forklight.toml:5 functions.pid.timeuot: " in done.stderr
            assert "forklight.toml:7 functions.other.handler: " in done.stderr
            assert await number(server) == 1


async def test_what_cannot_change_while_it_runs_says_so() -> None:
    toml = function("pid")
    with application(toml) as folder:
        write(folder, 1)
        async with serving(folder) as server:
            (folder / "forklight.toml").write_text(toml + '[http]\nidle_timeout = "1s"\n[bus]\nmax_hops = 3\n')
            done = await server.run("reload")
            assert done.status == 2
            assert "forklight.toml:5 http: [http] has changed: that needs a restart\n" in done.stderr
            assert "forklight.toml:7 bus: [bus] has changed: that needs a restart\n" in done.stderr


async def test_the_budget_of_all_functions_changes_with_a_reload() -> None:
    toml = function("pid")
    with application(toml) as folder:
        write(folder, 1)
        async with serving(folder) as server:
            (folder / "forklight.toml").write_text(toml + '[machine]\nmemory = "512MiB"\nmax_instances = 3\n')
            assert (await server.run("reload")).status == 0
            machine = json.loads((await server.run("ps", "--json")).stdout)["machine"]
            assert (machine["memory_limit_bytes"], machine["max_instances"]) == (512 * 1024 * 1024, 3)
            assert " of 512 MiB, " in (await server.run("ps")).stdout
            (folder / "forklight.toml").write_text(toml + '[machine]\nuser = "games"\n')
            done = await server.run("reload")
            assert done.status == 2
            assert "forklight.toml:5 machine: user of [machine] has changed: that needs a restart\n" in done.stderr


async def test_folders_of_files_come_and_go() -> None:
    toml = function("pid")
    with application(toml) as folder:
        write(folder, 1)
        async with serving(folder) as server:
            assert (await server.get("/code/f.py")).status == 404
            (folder / "forklight.toml").write_text(toml + '[[http.static]]\npath = "/code"\ndir = "."\n')
            assert (await server.run("reload")).status == 0
            assert (await server.get("/code/f.py")).status == 200
            (folder / "forklight.toml").write_text(toml)
            assert (await server.run("reload")).status == 0
            assert (await server.get("/code/f.py")).status == 404


async def test_functions_and_routes_come_and_go() -> None:
    pid = function("pid")
    with application(pid) as folder:
        async with serving(folder) as server:
            (folder / "forklight.toml").write_text(pid.replace('"/pid"', '"/other"') + function("echo"))
            assert (await server.run("reload")).stdout.startswith("reloaded: ")
            assert (await server.get("/pid")).status == 404
            assert (await server.get("/other")).status == 200
            assert (await server.post("/echo", 7)).json() == 7
            (folder / "forklight.toml").write_text(function("echo"))
            assert "pid removed" in (await server.run("reload")).stdout
            assert (await server.get("/other")).status == 404
            functions = (await server.ask("/status")).json()["functions"]
            assert [one["name"] for one in functions] == ["echo"]


async def test_a_runtime_may_have_another_python() -> None:
    with open_folder() as elsewhere, application("") as folder:
        python = bare_environment(elsewhere / "venv")
        (site_packages(python) / "named.pth").write_text("import sys; sys.implementation.cache_tag = 'other-1'\n")
        runtime = f'[runtimes.other]\npython = "{python}"\n'
        write(folder, 1)
        table = '[functions.pid]\nhandler = "f:pid"\nhttp = "/pid"\n'
        (folder / "forklight.toml").write_text(table)
        async with serving(folder) as server:
            assert await number(server) == 1
            (folder / "forklight.toml").write_text(f'{table}runtime = "other"\n{runtime}')
            assert (await server.run("reload")).stdout == "reloaded: pid changed\n"
            write(folder, 2)
            assert (await server.run("reload")).stdout == "reloaded: pid changed\n"
            assert await number(server) == 2
            [guest] = (server.state / "guest").iterdir()
            modules = [path.stem for path in (guest / "_forklight").glob("*.py")]
            compiled = [path.name.partition(".")[0] for path in guest.glob("_forklight/__pycache__/*.other-1.pyc")]
            assert sorted(compiled) == sorted(modules)
            assert not [path for path in (guest, *guest.rglob("*")) if path.stat().st_mode & 0o222]


async def test_queues_are_consumed_as_they_are_configured() -> None:
    with application(function("echo")) as folder:
        async with serving(folder) as server:
            (folder / "forklight.toml").write_text(function("echo", queue="orders"))
            assert (await server.run("reload")).status == 0
            await server.run("send", "orders", "-d", "1")
            await until(lambda: server.entries(function="echo"))
            (folder / "forklight.toml").write_text(function("echo"))
            assert (await server.run("reload")).status == 0
            await server.run("send", "orders", "-d", "2")
            (folder / "forklight.toml").write_text(function("echo") + function("pid", queue="orders"))
            assert (await server.run("reload")).status == 0
            await until(lambda: server.entries(function="pid"))


async def test_timers_fire_as_they_are_configured() -> None:
    with application(function("pid")) as folder:
        async with serving(folder) as server:
            (folder / "forklight.toml").write_text(function("pid", timer="* * * * *"))
            assert (await server.run("reload")).status == 0
            assert (await server.run("invoke", "pid", "--timer")).status == 0
            (folder / "forklight.toml").write_text(function("pid"))
            assert (await server.run("reload")).status == 0
            assert (await server.run("invoke", "pid", "--timer")).status == 2
