"""Every command that prints for people, on an application in which everything that can be is hostile to a terminal."""

import io
import json
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from urllib.parse import quote

import anyio
import anyio.to_thread
import pytest

from forklight.cli import main
from tests.kit import installed
from tests.kit.application import application
from tests.kit.served import Server, environ, eventually, serving
from tests.kit.support import until

pytestmark = pytest.mark.any_user

HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m\x7f\u202eevil\r"
ESCAPED = r"\x1b]0;owned\x07\x1b[2J\x9b31m\x7f\u202eevil"
CODE = f"""
HOSTILE = {HOSTILE!a}

def talk(event):
    print(HOSTILE)
    return HOSTILE

def fail(event):
    raise type(HOSTILE, (Exception,), {{}})(HOSTILE + "\\\\n12:34:56.789 forged - line")

def broken(event):
    pass

raise_at_import = RuntimeError(HOSTILE)
"""
BROKEN = f"raise RuntimeError({HOSTILE!a})\n"
TOML = f"""
[functions.talk]
handler = "hostile:talk"
http = "/talk/{{name}}"
[[functions.talk.timer]]
name = {json.dumps(HOSTILE.strip() + "x")}
schedule = "0 7 1 1 *"
[functions.fail]
handler = "hostile:fail"
http = "/fail"
[[functions.fail.queue]]
queue = "q"
attempts = 1
[functions.lost]
handler = "lost:handler"
http = "/lost"
"""
FORBIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
COMMANDS = (
    ("ps",),
    ("logs",),
    ("logs", "--json"),
    ("why", "--function", "talk"),
    ("why", "--function", "fail"),
    ("timers",),
    ("top", "-n", "1", "--interval", "10ms"),
    ("dlq", "list"),
    ("dlq", "list", "--json"),
    ("dlq", "show", HOSTILE + "id"),
    ("dlq", "show", HOSTILE),
    ("invoke", "fail"),
    ("invoke", "talk", "--json"),
    ("invoke", "lost"),
    ("invoke", "talk", "--here", "--json"),
    ("invoke", "none" + HOSTILE),
    ("send", HOSTILE, "-d", "1", "--id", HOSTILE),
    ("check", "--load"),
    ("keys", "list"),
    ("keys", "revoke", HOSTILE),
    ("reload",),
    ("dlq", "replay", HOSTILE),
    ("nothing" + HOSTILE,),
)


@asynccontextmanager
async def hostile_server() -> AsyncIterator[Server]:
    with application(TOML, hostile=CODE, lost=BROKEN) as folder:
        async with serving(folder, "--log-format", "text") as server:
            keys = server.state / "keys"
            keys.write_text(json.dumps({HOSTILE: {"sha256": "00", "created": HOSTILE}}))
            events = {"ce-specversion": "1.0", "ce-source": "/s", "ce-type": "t", "ce-id": quote(HOSTILE)}
            await server.get(f"/talk/{quote(HOSTILE)}", headers=events)
            await server.get("/fail", headers=events)
            await server.get("/lost")
            await server.get("/none" + quote(HOSTILE))
            letter = ("--id", HOSTILE + "id", "--header", f"{HOSTILE}={HOSTILE}")
            sent = await server.run("send", "q", "-d", json.dumps(HOSTILE), *letter)
            assert sent.status == 0, sent.stderr

            async def is_dead() -> bool:
                return b"attempts" in (await server.ask("/dlq")).body

            await eventually(is_dead)
            yield server


@pytest.mark.timeout(120)
async def test_nothing_that_a_terminal_would_obey_is_printed() -> None:
    """On a terminal colours alone: ours, and those of functions in their own lines."""
    async with hostile_server() as server:
        shown: dict[tuple[str, ...], str] = {}
        for command in COMMANDS:
            shown[command] = await anyio.to_thread.run_sync(_run, server.folder, command)
        await until(lambda: "forged" in server.log)
        shown["serve",] = server.log + "".join(server.said)
        for command in (("logs",), ("invoke", "talk")):
            on_a_terminal = await _on_a_terminal(server.folder, *command)
            assert _found(re.sub(r"\x1b\[[0-9;]*m|\r\n", "", on_a_terminal)) == [], command
    assert {command: _found(text) for command, text in shown.items() if _found(text)} == {}
    for name in ("serve", "logs", "dlq list", "timers", "why --function fail", "keys list"):
        assert ESCAPED in shown[tuple(name.split())], name
    assert not re.search(r"^12:34:56\.789 forged", shown["serve",], re.MULTILINE)


def _found(text: str) -> list[str]:
    return FORBIDDEN.findall(text)


def _run(folder: Path, command: tuple[str, ...]) -> str:
    """What a command prints: in this process, because two dozen starts take long."""
    shown = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(shown), redirect_stderr(shown):
        patch.setattr(sys, "argv", ["forklight", *command])
        for name, value in environ(folder).items():
            patch.setenv(name, value)
        patch.chdir(folder)
        with suppress(SystemExit):
            main()
    return shown.getvalue()


async def _on_a_terminal(folder: Path, *command: str) -> str:
    spawn = "import pty, sys; pty.spawn(sys.argv[1:])"
    line = [sys.executable, "-c", spawn, str(installed.command()), *command]
    ended = await anyio.run_process(line, cwd=folder, env=environ(folder), check=False)
    assert ended.stdout, ended.stderr
    return ended.stdout.decode()
