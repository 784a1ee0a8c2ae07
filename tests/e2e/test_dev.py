"""`forklight dev`: what is saved answers, and what is wrong is said where one looks."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from tests.kit.application import application, function, open_folder
from tests.kit.served import Server, eventually, serving

pytestmark = pytest.mark.any_user

WITHOUT_WATCHES = """unshare --user --map-root-user sh -c '
    echo 0 > /proc/sys/user/max_inotify_watches; exec unshare --user --map-user=1000 --map-group=1000 "$@"' sh"""
"""Runs a command in a user namespace that has no watches of files: inotify(7), user_namespaces(7)."""

SAYS = """
import os
import shutil
def say(event):
    return "WORD"
def tell(event):
    return os.environ["WORD"]
def fail(event):
    raise RuntimeError("the secret is 42")
"""


def save(path: Path, text: str) -> None:
    """At once, as editors do."""
    new = path.with_name(f"{path.name}~")
    new.write_text(text)
    new.rename(path)


def save_word(folder: Path, word: str) -> None:
    save(folder / "f.py", SAYS.replace("WORD", word, 1))


@contextlib.asynccontextmanager
async def developing(toml: str, within: str = "") -> AsyncIterator[Server]:
    """`forklight dev` on this configuration; its log is a file beside the code."""
    with application(toml) as folder:
        save_word(folder, "one")
        (folder / ".forklightignore").write_text("*.txt\n")
        async with serving(folder, command="dev", within=within) as server:
            yield server


async def answers(server: Server, body: bytes, path: str = "/say") -> None:
    """Until it does."""

    async def does() -> bool:
        return (await server.get(path)).body == body

    await eventually(does)


async def test_what_is_saved_answers() -> None:
    async with developing(function("say")) as server:
        await answers(server, b"one")
        for word in ("two", "three"):
            save_word(server.folder, word)
            await server.wait_said("^reloaded: say changed$")
            server.said.clear()
            assert (await server.get("/say")).body == word.encode()


async def test_what_is_saved_before_the_watch_begins_answers_under_requests() -> None:
    """Each request adds a line to the log, which is in the watched folder."""
    async with developing(function("say")) as server:
        save_word(server.folder, "two")
        await answers(server, b"two")


async def test_its_own_log_beside_the_code_is_no_code() -> None:
    async with developing(function("say")) as server:
        await answers(server, b"one")
        versions = []
        for word in ("two", "three", "two"):
            save_word(server.folder, word)
            await server.wait_said("^reloaded: say changed$")
            server.said.clear()
            assert (await server.get("/say")).body == word.encode(), "which the log has a line of"
            versions.append((await server.status("say"))["version"])
        assert versions[2] == versions[0] != versions[1]


async def test_a_broken_version_leaves_the_one_before_and_says_why() -> None:
    async with developing(function("say")) as server:
        await answers(server, b"one")
        save(server.folder / "f.py", "import no_such_module\n")
        await server.wait_said("^say: load/ImportModuleError: ")
        await server.wait_said("^ModuleNotFoundError: No module named 'no_such_module'$")
        reply = await server.get("/say")
        assert (reply.status, reply.body) == (200, b"one")
        assert reply.headers["X-Forklight-Stale"].startswith("say: load/ImportModuleError: ")
        assert (await server.get("/nowhere")).headers["X-Forklight-Stale"]

        save_word(server.folder, "two")
        await server.wait_said("^reloaded: say changed$")
        reply = await server.get("/say")
        assert (reply.body, "X-Forklight-Stale" in reply.headers) == (b"two", False)


async def test_a_function_broken_from_the_start_says_so_at_once_and_to_clients() -> None:
    toml = function("say")
    with application(toml) as folder:
        (folder / ".forklightignore").write_text("/log\n")
        (folder / "f.py").write_text("1 / 0\n")
        async with serving(folder, command="dev") as server:
            await server.wait_said("^say: load/InitFailed: .*division by zero")
            reply = await server.get("/say")
            assert (reply.status, "ZeroDivisionError" in reply.json()["traceback"]) == (502, True)
            save_word(folder, "mended")
            await server.wait_said("^reloaded: say changed$")
            await answers(server, b"mended")


async def test_a_traceback_reaches_the_client() -> None:
    async with developing(function("fail")) as server:
        reply = await server.get("/fail")
        assert reply.status == 500
        assert "RuntimeError: the secret is 42" in reply.json()["traceback"]


async def test_the_configuration_is_watched_too() -> None:
    async with developing(function("say")) as server:
        await answers(server, b"one")
        save(server.folder / "forklight.toml", function("say") + 'timeuot = "1s"\n')
        await server.wait_said(r"forklight\.toml:5 functions\.say\.timeuot: ")
        assert "timeuot" in (await server.get("/say")).headers["X-Forklight-Stale"]
        save(server.folder / "forklight.toml", function("say") + function("fail"))
        await server.wait_said("^reloaded: fail added$")
        assert (await server.get("/fail")).status == 500


async def test_env_files_are_watched_too() -> None:
    with application(function("tell", env_file="settings/env")) as folder:
        (folder / "settings").mkdir()
        save(folder / "settings/env", "WORD=one\n")
        (folder / ".forklightignore").write_text("/log\n/settings\n")
        (folder / "f.py").write_text(SAYS)
        async with serving(folder, command="dev") as server:
            await answers(server, b"one", "/tell")
            save(folder / "settings/env", "WORD=two\n")
            await server.wait_said("^reloaded: tell changed$")
            assert (await server.get("/tell")).body == b"two"


async def test_a_module_in_a_new_folder_is_seen() -> None:
    async with developing(function("say")) as server:
        await answers(server, b"one")
        (server.folder / "words").mkdir()
        save(server.folder / "words/word.py", "word = 'two'\n")
        save(server.folder / "f.py", "from words.word import word\ndef say(event):\n    return word\n")
        await answers(server, b"two")
        save(server.folder / "words/word.py", "word = 'three'\n")
        await answers(server, b"three")


async def test_a_folder_made_anew_is_watched_again() -> None:
    async with developing(function("say")) as server:
        await answers(server, b"one")
        (server.folder / "words").mkdir()
        (server.folder / "words/word.py").write_text("word = 'two'\n")
        save(server.folder / "f.py", "from words.word import word\ndef say(event):\n    return word\n")
        await answers(server, b"two")
        shutil.rmtree(server.folder / "words")
        (server.folder / "words").mkdir()
        (server.folder / "words/word.py").write_text("word = 'three'\n")
        await answers(server, b"three")
        save(server.folder / "words/word.py", "word = 'four'\n")
        await answers(server, b"four")


async def test_a_branch_of_many_files_is_one_reload() -> None:
    names = [f"m{number}" for number in range(100)]
    async with developing(function("say")) as server:
        await answers(server, b"one")
        for name in names:
            (server.folder / f"{name}.py").write_text("word = 'two'\n")
        lines = [*(f"import {name}" for name in names), "def say(event):", "    return m99.word", ""]
        save(server.folder / "f.py", "\n".join(lines))
        await answers(server, b"two")
        for name in names:
            (server.folder / f"{name}.py").unlink()
            await anyio.sleep(0.001)  # as a program that takes its time
        for name in names:
            (server.folder / f"{name}.py").write_text("word = 'three'\n")
        await answers(server, b"three")
        await server.end()
        assert server.process.stderr is not None
        said = (await server.process.stderr.read()).decode()
        assert said.count("reloaded: ") == 2, "and nothing that does not load"
        assert "load/" not in said


async def test_what_snapshots_ignore_is_not_reloaded_for() -> None:
    async with developing(function("say")) as server:
        await answers(server, b"one")
        save(server.folder / "notes.txt", "nothing of the code\n")
        for name in (".pytest_cache/v", ".idea", "env/lib"):
            (server.folder / name).mkdir(parents=True)
        for name in (".pytest_cache/v/nodeids", ".idea/workspace.xml", "env/pyvenv.cfg", ".coverage", "#f.py#", "4913"):
            (server.folder / name).write_text("of a tool\n")
        (server.folder / ".#f.py").symlink_to("user@host.1234:1700000000")
        save_word(server.folder, "two")
        await answers(server, b"two")
        save_word(server.folder, "three")
        await answers(server, b"three")
        await server.end()
        assert server.process.stderr is not None
        said = (await server.process.stderr.read()).decode().splitlines()
        assert [line for line in said if line.startswith("reloaded")] == ["reloaded: say changed"] * 2


async def test_a_name_that_is_not_utf8_is_code_like_any_other() -> None:
    name, folder = os.fsdecode(b"caf\xe9.py"), os.fsdecode(b"d\xe9j\xe0")
    async with developing(function("say")) as server:
        await answers(server, b"one")
        for path in (server.folder / name, server.folder / folder / name):
            path.parent.mkdir(exist_ok=True)
            path.write_text("")
        for word in ("two", "three"):
            save_word(server.folder, word)
            await answers(server, word.encode())
        save(server.folder / "f.py", f"def say(event):\n    return open({f'{folder}/{name}'!a}).read()\n")
        await answers(server, b"")
        (server.folder / folder / name).write_text("four")
        await answers(server, b"four")


@pytest.mark.skipif(
    subprocess.run(f"{WITHOUT_WATCHES} true", shell=True, check=False).returncode != 0, reason="no namespaces"
)
async def test_without_watches_it_looks_for_itself_and_says_so() -> None:
    async with developing(function("say"), within=WITHOUT_WATCHES) as server:
        await server.wait_said(
            "^cannot watch the code: the limit fs.inotify.max_user_watches is reached; dev looks every"
        )
        for word in ("two", "three"):
            save_word(server.folder, word)
            await answers(server, word.encode())


async def test_a_single_file_needs_no_configuration() -> None:
    with open_folder() as folder:
        code = folder / "app"
        code.mkdir()
        save(code / "hello.py", "from beside import word\ndef handler(event):\n    return word\n")
        save(code / "beside.py", "word = 'one'\n")
        async with serving(folder, "app/hello.py", command="dev") as server:
            await answers(server, b"one", "/")
            save(code / "beside.py", "word = 'two'\n")
            await server.wait_said("^reloaded: hello changed$")
            assert (await server.get("/")).body == b"two"


WRITES = """
import sqlite3
def database(event):
    with sqlite3.connect("FOLDER/shop.db") as database:
        database.execute("CREATE TABLE IF NOT EXISTS t (word)")
        database.execute("INSERT INTO t VALUES (1)")
def text(event):
    with open("FOLDER/orders.csv", "a") as file:
        print(event["data"], file=file)
"""


async def test_a_database_in_the_code_causes_no_reload_and_any_other_file_says_so() -> None:
    with application(function("database") + function("text")) as folder:
        folder.chmod(0o777)  # functions may run as another user
        save(folder / "f.py", WRITES.replace("FOLDER", str(folder)))
        async with serving(folder, command="dev") as server:
            save(folder / "f.py", (folder / "f.py").read_text() + "# once the watch has begun\n")
            await server.wait_said("^reloaded: database, text changed$")
            server.said.clear()
            for _ in range(3):
                assert (await server.post("/database")).status == 204
            await server.wait_said(rf"^{folder}/shop.db has changed, which is no reason to reload: a function that")
            assert (await server.post("/text", 1)).status == 204
            await server.wait_said(rf"^{folder}/orders.csv has changed$")
            await server.wait_said("^reloaded: database, text changed$")
            assert (await server.post("/text", 2)).status == 204
            await server.wait_said(rf"^{folder}/orders.csv has changed again: if a function writes it, keep it in")
        said = "".join(server.said)
        assert (said.count("shop.db"), said.count("reloaded")) == (1, 1)
        async with serving(folder) as server:
            await server.wait_said(
                r"^warning: forklight.toml:1 functions.database: shop.db is a database in the code, of which"
                r" functions read a copy: keep it in the data folder \(data = true\), or if functions only read it"
            )
            assert "shop.db is a database in the code" in (await server.run("check")).stderr
            (folder / ".forklightignore").write_text("!shop.db\n")
            assert "warning" not in (await server.run("check")).stderr
