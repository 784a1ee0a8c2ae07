"""`data = true`: files outlive versions, reloads and restarts, under every command that runs functions."""

import json
from pathlib import Path

import pytest

from tests.kit.application import application
from tests.kit.served import run, serving

pytestmark = pytest.mark.ordinary_user

TOML = """
[defaults]
data = true
[functions.keep]
handler = "f:keep"
http = "POST /keep"
[functions.kept]
handler = "f:kept"
http = "GET /kept"
hooks = { init = "f:prepare" }
[functions.apart]
handler = "f:apart"
http = "GET /apart"
data = false
"""
CODE = """
import os, sqlite3

def connect():
    return sqlite3.connect(os.path.join(os.environ["FORKLIGHT_DATA"], "shop.db"))

def prepare():
    connect().executescript("PRAGMA journal_mode = WAL; CREATE TABLE IF NOT EXISTS t (word)")

def keep(event):
    with connect() as database:
        database.execute("INSERT INTO t VALUES (?)", [event["data"]])

def kept(event):
    return [word for word, in connect().execute("SELECT word FROM t")]

def apart(event):
    return os.environ.get("FORKLIGHT_DATA")
"""


def state(folder: Path) -> tuple[str, str]:
    return "--state", str(folder / "state")


async def test_files_outlive_reloads_and_restarts_and_are_shared() -> None:
    with application(TOML, f=CODE) as folder:
        loaded = await run("check", "--load", *state(folder), cwd=folder)
        assert (loaded.status, loaded.stderr) == (0, "")
        async with serving(folder) as server:
            assert (await server.post("/keep", "served")).status == 204
            assert (await server.get("/apart")).status == 204
            (folder / "f.py").write_text(CODE + "# another version\n")
            assert "changed" in (await server.run("reload")).stdout
            assert (await server.get("/kept")).json() == ["served"]
            assert (await server.run("invoke", "keep", "-d", '"invoked"')).status == 0
            assert (await server.run("invoke", "keep", "--here", "-d", '"here"')).status == 0
        alone = await run("invoke", "kept", "--here", *state(folder), cwd=folder)
        assert (json.loads(alone.stdout), alone.stderr) == (["served", "invoked", "here"], "")
        async with serving(folder, command="dev") as server:
            assert (await server.get("/kept")).json() == ["served", "invoked", "here"]


async def test_a_folder_that_cannot_be_used_is_told_at_start_and_at_a_reload() -> None:
    with application(TOML, f=CODE) as folder:
        (folder / "state").mkdir()
        (folder / "state/data").touch()
        problem = f"forklight.toml:3 defaults.data: the data folder {folder}/state/data is not a folder: move it away\n"
        for command in (["serve"], ["check", "--load"], ["invoke", "kept", "--here"]):
            done = await run(*command, *state(folder), cwd=folder)
            assert (done.status, done.stderr) == (2, problem), command
        (folder / "forklight.toml").write_text(TOML.replace("true", "false"))
        async with serving(folder) as server:
            (folder / "forklight.toml").write_text(TOML)
            done = await server.run("reload")
            assert (done.status, problem in done.stdout + done.stderr) == (2, True)
            (folder / "state/data").unlink()
            assert (await server.run("reload")).status == 0
            assert (await server.post("/keep", "later")).status == 204
