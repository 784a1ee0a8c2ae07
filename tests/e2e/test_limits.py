"""A server keeps its functions to their limits, says so, and leaves nothing behind, however it ends."""

import signal
from pathlib import Path

import pytest

from tests.kit.application import application, function
from tests.kit.groups import FOUND, can, group_of, told
from tests.kit.served import Server, run, serving

pytestmark = pytest.mark.ordinary_user

BURN = """
import time

def handler(event):
    end = time.process_time() + 0.05
    while time.process_time() < end:
        pass
"""
TOML = '[functions.burn]\nhandler = "burn:handler"\nhttp = "GET /burn"\n'


async def groups(server: Server) -> set[Path]:
    """Those of the server, in which the groups of its templates are."""
    pid = (await server.get("/pid")).json()["pid"]
    return {group_of(pid, name).parent for name in FOUND.places}


async def test_a_server_bounds_its_functions_and_removes_what_a_killed_one_has_left() -> None:
    toml = function("pid") + TOML
    with application(toml + "cpu = 0.1\n", burn=BURN) as folder:
        if not can("memory", "pids", "cpu"):
            assert told("memory", "pids", "cpu")
            refused = await run("check", cwd=folder)
            assert can("cpu") or (refused.status == 2 and "functions.burn.cpu: cannot be had: " in refused.stderr)
            return
        async with serving(folder) as server:
            assert (await server.get("/burn")).status == 204
            why = await server.run("why", "--function", "burn")
            old = await groups(server)
            await server.end(signal.SIGKILL)
        assert all(one.is_dir() for one in old)

        async with serving(folder) as server:
            new = await groups(server)
            assert not any(one.exists() for one in old)
            assert await server.end() == 0
        assert not any(one.exists() for one in new)

    assert " ms for its share of the processors (cpu)" in why.stdout
    assert "to change that: a larger share of the processors: cpu" in why.stdout
