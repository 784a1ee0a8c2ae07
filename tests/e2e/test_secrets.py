"""A secret is in the memory of the server and of its function's processes, and in no other place of this machine."""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.application import application
from tests.kit.children import children
from tests.kit.levels import levels
from tests.kit.served import serving
from tests.kit.support import until

pytestmark = pytest.mark.ordinary_user

TOML = """
[machine]
uids = "200000-200999"
[log]
keep = "1MiB"
[functions.before]
handler = "f:idle"
http = "/before"
[functions.fails]
handler = "f:idle"
http = "/fails"
hooks = { init = "f:fail" }
secrets = { BY_FILE = { file = "secret" } }
[functions.after]
handler = "f:idle"
http = "/after"
"""
KNOWS = """
[functions.at_{level}]
handler = "f:knows"
http = "/{level}"
isolation = "{level}"
hooks = {{ init = "f:init" }}
secrets = {{ BY_FILE = {{ file = "secret" }}, BY_NAME = {{ env = "GIVEN" }} }}
"""
CODE = """
import json, os, resource, subprocess

def idle(event):
    return {}

def init():
    assert os.environ["BY_FILE"] and os.environ["BY_NAME"]

def fail():
    json.loads(os.environ["BY_FILE"])

def knows(event):
    if event["http"]["query"].get("how"):
        os.abort()
    child = subprocess.Popen(["sleep", "100"])
    return {"known": len(os.environ["BY_FILE"]), "child": child.pid, "core": resource.getrlimit(resource.RLIMIT_CORE)}
"""


async def test_a_secret_is_nowhere_else() -> None:
    """At each level, after loads and crashes, logged at level debug. Programs that a function starts have it, too."""
    by_file, by_name = marks = [f"secret-{os.urandom(16).hex()}" for _ in range(2)]
    with application(TOML + "".join(KNOWS.format(level=level) for level in levels()), f=CODE) as folder:
        (folder / "secret").write_text(by_file)
        (folder / "secret").chmod(0o600)
        async with serving(folder, "--debug", "--listen", "127.0.0.1:0", GIVEN=by_name) as server:
            assert [(await server.get(path)).status for path in ("/before", "/fails")] == [200, 502]
            for level in levels():
                assert (await server.get(f"/{level}?how=crash")).status == 502
                found = (await server.get(f"/{level}")).json()
                assert (found["known"], found["core"]) == (len(by_file), [1, 1])
            assert (await server.run("reload")).status == 0
            assert (await server.get("/after")).status == 200
            told = [await server.run(command, "--json") for command in ("ps", "logs", "why")]
            server.send(signal.SIGUSR1)
            await server.wait_said("at_limits")
            await until(lambda: b"crash" in (server.state / "log.jsonl").read_bytes())
            said = "\n".join([server.log, *server.said, *(done.stdout + done.stderr for done in told)])
            for mark in marks:
                assert mark not in said
                assert [*_files_with(mark, folder)] == [folder / "secret"] * (mark == by_file)
                assert {_command(pid) for pid in _shown_with(mark, server.process.pid)} == {"sleep 100"}
            if os.geteuid() == 0:
                assert _memory_has(server.process.pid, marks)
                assert not any(_memory_has(pid, marks) for pid in server.zygotes())
                knowing = [pid for pid in server.templates() if _memory_has(pid, marks)]
                others = set(server.templates()) - {*knowing}
                assert len(knowing) == len(levels())
                assert len(others) >= 2
                assert not any(_memory_has(pid, marks) for other in others for pid in children(other))


def _files_with(mark: str, folder: Path) -> Iterator[Path]:
    """The files below a folder that have it in their names or contents, but not what was logged for this test."""
    for path in folder.rglob("*"):
        if path.is_file() and (mark in path.name or mark.encode() in path.read_bytes()):
            yield path


def _shown_with(mark: str, server: int) -> Iterator[int]:
    """The processes of this machine, but for the server, that show it in their environments or commands."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != server:
            with contextlib.suppress(OSError):
                shown = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
                if mark.encode() in shown:
                    yield int(entry.name)


def _command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()


def _memory_has(pid: int, marks: list[str]) -> bool:
    """Whether one of them is anywhere in what this process can write to."""
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in maps:
            span, rights, *_ = line.split()
            start, end = (int(address, 16) for address in span.split("-"))
            if rights.startswith("rw") and "[v" not in line:
                with contextlib.suppress(OSError):
                    memory.seek(start)
                    content = memory.read(end - start)
                    if any(mark.encode() in content for mark in marks):
                        return True
    return False
