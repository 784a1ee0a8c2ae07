"""Starts that cannot be: one line that says what and what to do, no traceback, and the exit status."""

import os
import socket

import pytest

from tests.kit.application import application, function
from tests.kit.served import run, serving

pytestmark = pytest.mark.any_user

MISTAKES = """
[functions.echo]
handler = "f:echo"
http = ["GET /echo", "FETCH /other"]
timeout = 5

[functions.fail]
handler = "f:fail"
http = "/echo"
max_instance = 2

[http]
listen = "8080"
"""


async def test_every_mistake_is_told_at_once() -> None:
    with application(MISTAKES) as folder:
        refused = await run("serve", cwd=folder)
    assert (refused.status, refused.stdout) == (2, "")
    told = [line.partition(": ")[0] for line in refused.stderr.splitlines()]
    assert told == [
        "forklight.toml:4 functions.echo.http[1]",
        "forklight.toml:5 functions.echo.timeout",
        "forklight.toml:9 functions.fail.http",
        "forklight.toml:10 functions.fail.max_instance",
        "forklight.toml:13 http.listen",
    ]
    assert "(did you mean 'max_instances'?)" in refused.stderr


async def test_a_port_in_use_is_one_line() -> None:
    with application(function("echo")) as folder, socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        refused = await run("serve", "--listen", address, cwd=folder)
    assert (refused.status, refused.stdout) == (1, "")
    [line] = refused.stderr.splitlines()
    assert line.startswith("Error: ")
    assert address in line
    assert "in use" in line


async def test_an_admin_port_in_use_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with application(function("echo") + f'[admin]\nlisten = "{address}"\n') as folder:
            refused = await run("serve", "--listen", "127.0.0.1:0", cwd=folder)
    assert (refused.status, refused.stdout) == (1, "")
    [line] = refused.stderr.splitlines()
    assert address.rpartition(":")[2] in line
    assert "in use" in line


async def test_a_state_directory_has_one_server() -> None:
    with application(function("echo")) as folder:
        async with serving(folder) as server:
            refused = await server.run("serve", "--listen", "127.0.0.1:0")
            assert (refused.status, refused.stdout) == (1, "")
            [line] = refused.stderr.splitlines()
            assert f"is in use by the process with pid {server.process.pid}; stop that one" in line
            assert (await server.post("/echo", 1)).json() == 1


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        (
            "the store {}/state/store.db",
            "cannot be opened: it is not an SQLite database, or its beginning is damaged; put",
        ),
        ("{}/state/releases.json", "cannot be used: JSON is malformed: invalid character (byte 0): restore it from a"),
    ],
)
async def test_a_state_that_is_damaged_is_one_line_and_the_end(file: str, reason: str) -> None:
    with application(function("echo")) as folder:
        (folder / "state").mkdir(mode=0o750)
        path = file.format(folder)
        (folder / "state" / path.rpartition("/")[2]).write_bytes(b"\xa5" * 16384)
        refused = await run("serve", "--listen", "127.0.0.1:0", cwd=folder)
    assert (refused.status, refused.stdout) == (1, "")
    [line] = refused.stderr.splitlines()
    assert f"{path} {reason}" in line


async def test_ps_and_logs_say_when_no_server_runs() -> None:
    with application(function("echo")) as folder:
        for command in ("ps", "logs"):
            refused = await run(command, cwd=folder)
            assert (refused.status, refused.stdout) == (1, "")
            [line] = refused.stderr.splitlines()
            assert line.startswith(f"Error: no server runs on {folder}/state: start one with forklight serve")


async def test_a_killed_server_is_no_obstacle() -> None:
    with application(function("echo")) as folder:
        async with serving(folder) as server:
            await server.post("/echo", 1)
            server.process.kill()
            assert await server.wait() == -9
        assert (folder / "state/control.sock").exists(), "nobody was there to remove it"
        async with serving(folder) as server:
            assert (await server.post("/echo", 2)).json() == 2
        assert not (folder / "state/control.sock").exists()


async def test_what_the_unprivileged_user_cannot_reach_is_named() -> None:
    with application(function("echo")) as folder:
        folder.chmod(0o700)
        if os.geteuid() == 0:
            refused = await run("serve", cwd=folder)
            assert (refused.status, refused.stdout) == (1, "")
            assert f"is out of reach for the user 'nobody': {folder} blocks the way" in refused.stderr
        else:  # functions are the same user, who passes
            async with serving(folder) as server:
                assert (await server.post("/echo", 1)).json() == 1
