"""Imports of a first call, in a running server: shown by `ps` and `check --load`, and kept for the next start."""

import json
from pathlib import Path

from tests.kit.application import open_folder
from tests.kit.served import Server, eventually, run, serving

CODE = """
import os
import sys
import time
print("loaded")
def handler(event):
    before = "wave" in sys.modules
    import wave
    from datetime import datetime
    datetime.strptime("2026", "%Y")
    return {"before": before, "template": os.getppid(), "pid": os.getpid()}
"""
SETTINGS = '[functions.hello]\nhandler = "hello:handler"\nhttp = "/"\nmax_invocations = 1\n'
SETTINGS += 'isolation = "limits"\n'  # in a box, a template has no pid


def write(folder: Path, settings: str = SETTINGS) -> None:
    (folder / "forklight.toml").write_text(settings)
    (folder / "hello.py").write_text(CODE)
    (folder / ".forklightignore").write_text("log\n")  # else each server would have a version of its own


async def rehearsed(server: Server) -> None:
    async def is_shown() -> bool:
        return "wave" in (await server.status("hello"))["rehearsed"]

    await eventually(is_shown)

    async def is_made() -> bool:
        return bool((await server.get("/")).json()["before"])

    await eventually(is_made)


async def test_what_a_server_has_learnt_is_shown_and_outlives_it() -> None:
    with open_folder() as folder:
        write(folder)
        done = await run("check", "--load", cwd=folder)
        assert "calls may import datetime, wave: a server imports ahead what the first one does" in done.stdout

        async with serving(folder) as server:
            first = (await server.get("/")).json()
            assert not first["before"]
            await rehearsed(server)
            assert (await server.get("/")).json()["template"] != first["template"]
            shown = (await server.run("ps")).stdout
            assert "hello: imported ahead of calls: wave, datetime, _strptime" in shown
            reloaded = await server.run("reload")
            assert reloaded.status == 0
            assert (await server.get("/")).json()["before"], "a function that a reload keeps has its template"
            assert len(server.entries(text="loaded")) == 1

        async with serving(folder) as server:
            assert (await server.get("/")).json()["before"], "a restart rehearses at once"

        done = await run("check", "--load", "--json", cwd=folder)
        (load,) = json.loads(done.stdout)["loads"]
        assert load["rehearsed"] == ["wave", "datetime", "_strptime"]
        assert load["deferred"] == []


async def test_a_function_without_rehearsal_learns_nothing() -> None:
    with open_folder() as folder:
        write(folder, SETTINGS + 'rehearsal = "none"\n')
        async with serving(folder) as server:
            first = (await server.get("/")).json()
            second = (await server.get("/")).json()
            assert (second["before"], second["template"]) == (False, first["template"])
            assert not (server.state / "rehearsals").exists()
