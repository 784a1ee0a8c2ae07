"""`data = true`: files outlive versions, reloads and restarts, under every command that runs functions."""

import contextlib
import json
import os
import pwd
import re
import shutil
import sqlite3
from pathlib import Path

from tests.kit.application import application, function
from tests.kit.served import run, serving
from tests.kit.support import until

TOML = """
[defaults]
data = true
isolation = "best"
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
            (folder / "state/data").rename(folder / "aside")
            assert "changed" in (await server.run("reload")).stdout
            assert (await server.post("/keep", "to another folder of the same name")).status == 204


FAILS = """
import os, sqlite3

def relative(event):
    open("out.txt", "w")

def renamed(event):
    part = os.path.join(os.environ["TMPDIR"], "part")
    open(part, "w").close()
    os.replace(part, "out.txt")

def wrapped(event):
    try:
        open("out.txt", "w")
    except OSError as error:
        raise RuntimeError("not saved") from error

def connect(event):
    sqlite3.connect("shop.db").execute("CREATE TABLE t (word)")

def write(event):
    sqlite3.connect("beside.db").execute("INSERT INTO t VALUES (1)")

def elsewhere(event):
    open("/etc/shadow")

def large(event):
    with open(os.path.join(os.environ["FORKLIGHT_DATA"], "large"), "wb") as file:
        file.write(bytes(3 * 1024 * 1024))

def grown(event):
    with sqlite3.connect(os.path.join(os.environ["FORKLIGHT_DATA"], "grown.db")) as database:
        database.execute("CREATE TABLE t (word)")
        database.execute("INSERT INTO t VALUES (?)", [bytes(3 * 1024 * 1024)])

def of_root(event):
    path = os.path.join(os.environ["FORKLIGHT_DATA"], "of_root.db")
    sqlite3.connect(path).execute("INSERT INTO t VALUES (1)")

def unset(event):
    os.environ["FORKLIGHT_DATA"]

def other(event):
    os.environ["API_URL"]

def own(event):
    {}["FORKLIGHT_DATA"]

def case(event):
    globals()[event["data"]](event)

async def case_async(event):
    globals()[event["data"]](event)
"""
KEEP = 'keep files in os.environ["FORKLIGHT_DATA"], scratch in os.environ["TMPDIR"]'
ASK = KEEP.replace("],", "] (write data = true in the function's table of forklight.toml),", 1)
SNAPSHOT = "the code is a read-only snapshot of its folder"
RELATIVE = (
    "a relative path is in the code, a read-only snapshot of its folder, "
    "and any other must be open to the user of the functions"
)
DENIED = "[Errno 13] Permission denied: "
TOO_LARGE = "a file that the function writes has at most max_file, 2 MiB"


async def test_a_write_that_cannot_work_is_told_what_helps() -> None:
    user = pwd.getpwuid(os.geteuid() or pwd.getpwnam("nobody").pw_uid).pw_name
    expected = {
        ("case", "relative"): f"{DENIED}'out.txt': {SNAPSHOT}; {KEEP}",
        ("bare", "relative"): f"{DENIED}'out.txt': {SNAPSHOT}; {ASK}",
        ("case", "renamed"): f"{DENIED}'TMPDIR/part' -> 'out.txt': {SNAPSHOT}; {KEEP}",
        ("case", "wrapped"): f"not saved: {SNAPSHOT}; {KEEP}",
        ("case", "connect"): f"unable to open database file: {RELATIVE}; {KEEP}",
        ("bare", "connect"): f"unable to open database file: {RELATIVE}; {ASK}",
        ("case", "write"): f"attempt to write a readonly database: {RELATIVE}; {KEEP}",
        ("case", "elsewhere"): f"{DENIED}'/etc/shadow': the function runs as the user '{user}'",
        ("case", "large"): f"[Errno 27] File too large: {TOO_LARGE}",
        ("case", "grown"): f"disk I/O error: {TOO_LARGE}",
        ("bare", "unset"): "'FORKLIGHT_DATA': write data = true in the function's table of forklight.toml",
        ("case", "other"): "'API_URL': the variable is not set; "
        "a function gets only the variables of its env, env_file and secrets",
        ("bare", "own"): "'FORKLIGHT_DATA'",
    }
    toml = function("case", data=True, max_file="2MiB") + function("case_async", data=True)
    toml += '[functions.bare]\nhandler = "f:case"\nhttp = "/bare"\n'
    with application(toml, f=FAILS) as folder:
        with contextlib.closing(sqlite3.connect(folder / "beside.db")) as database:
            database.execute("CREATE TABLE t (word)")
        async with serving(folder) as server:

            async def told(name: str, case: str) -> str:
                identity = (await server.post(f"/{name}", case)).headers["X-Forklight-Id"]
                entry = (await until(lambda: server.entries(invocation=identity)))[-1]
                assert f"in {case}\n" in entry["traceback"]
                return re.sub(r"'\S+/part'", "'TMPDIR/part'", entry["text"])

            assert {case: await told(*case) for case in expected} == expected
            assert (await told("case_async", "relative")) == expected["case", "relative"]
            data = folder / "state/data"
            if os.geteuid() == 0:
                (data / "grown.db").unlink()
                with contextlib.closing(sqlite3.connect(data / "of_root.db")) as database:
                    database.execute("CREATE TABLE t (word)")
                    database.commit()
                found = await told("case", "of_root")
                path = f"{data}/of_root.db"
                assert found.endswith(
                    f": {path} belongs to 'root', and functions run as 'nobody': chown nobody: {path}"
                )
            shutil.rmtree(data)
            assert (await told("case", "of_root")).endswith(
                f": the data folder {data} is gone: a reload makes a new one"
            )
            assert (await server.run("reload")).status == 0
            assert data.is_dir()
