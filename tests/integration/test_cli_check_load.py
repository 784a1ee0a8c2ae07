"""`forklight check --load` as a process: every function loaded for real, and what is told of each."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.test_cli_check import ENVIRON
from tests.kit.support import readable_folder

CODE = {
    "good": "print('hello')\nasync def handler(event): ...\n",
    "bad": "CONFIG = {}\nNAME = CONFIG['name']\n",
    "app": "class App:\n    def __call__(self, environ, start_response): ...\nhandler = App()\n",
    "threads": (
        "import threading, time\n"
        "threading.Thread(target=time.sleep, args=(1000,), name='poller', daemon=True).start()\n"
        "def handler(event): ...\n"
    ),
    "locks": "import threading\nLOCK = threading.Lock()\nLOCK.acquire()\ndef handler(event): ...\n",
    "dice": (
        "import random, dice_of_ours\n"
        "from dice_of_ours import DICE\n"
        "class Game:\n    loaded = random.Random(6)\n"
        "secret = random.SystemRandom()\n"
        "def handler(event): ...\n"
    ),
    "dice_of_ours": "import random\n\nDICE = random.Random()\ndef handler(event): ...\n",
    "sockets": (
        "import socket\n"
        "server = socket.create_server(('127.0.0.1', 0))\n"
        "client = socket.create_connection(server.getsockname())\n"
        "pair = socket.socketpair()\n"
        "named = socket.socket(socket.AF_UNIX)\n"
        "named.bind('\\0forklight-test-load')\n"
        "def handler(event): ...\n"
    ),
}

pytestmark = pytest.mark.any_user


@pytest.fixture
def folder() -> Iterator[Path]:
    with readable_folder() as folder:
        yield folder


def _check(folder: Path, *functions: str, options: tuple[str, ...] = ()) -> "subprocess.CompletedProcess[str]":
    for name in functions:
        (folder / f"{name}.py").write_text(CODE[name])
    toml = "".join(f'[functions.{name}]\nhandler = "{name}:handler"\n' for name in functions)
    (folder / "forklight.toml").write_text(toml)
    command = [sys.executable, "-m", "forklight", "check", "--load", "--state", "state", *options]
    return subprocess.run(command, cwd=folder, env=ENVIRON, capture_output=True, text=True, timeout=50, check=False)


def test_what_loads_says_how_long_it_took(folder: Path) -> None:
    done = _check(folder, "good")
    first, last = done.stdout.splitlines()
    assert first.startswith("good  loaded in ")
    assert first.endswith(" ms, async def")
    assert last == "ok: 1 function (good)"
    assert (done.stderr, done.returncode) == ("good: hello\n", 0)
    assert list((folder / "state/here").iterdir()) == []
    assert list((folder / "state").glob("versions")) == []


def test_what_does_not_load_says_why_where_it_was_written(folder: Path) -> None:
    done = _check(folder, "bad", "good")
    lines = done.stdout.splitlines()
    assert lines[:3] == [
        "bad   failed: InitFailed: importing 'bad' failed: KeyError: 'name'",
        "  Traceback (most recent call last):",
        f'    File "{folder}/bad.py", line 2, in <module>',
    ]
    assert lines[-1] == "failed to load: 1 function (bad)"
    assert done.returncode == 1


def test_threads_and_sockets_that_stay_open(folder: Path) -> None:
    done = _check(folder, "threads", "sockets", "good", options=("--json",))
    found = json.loads(done.stdout)
    assert (found["ok"], found["functions"], done.returncode) == (True, ["good", "sockets", "threads"], 0)
    good, sockets, threads = found["loads"]
    assert good["ms"] > 0
    assert (good["asynchronous"], good["threads"], good["unsafe"], good["shared"]) == (True, 0, [], [])
    assert (threads["threads"], threads["thread_owner"]) == (1, "threads (poller, started at threads.py:2)")
    (server,) = sockets["shared"]
    client, *rest = sockets["unsafe"]
    assert server.startswith("TCP on 127.0.0.1:")
    assert server.endswith(" (sockets.server, made at sockets.py:2)")
    assert client == server.replace("on", "to").replace("server", "client").replace(":2", ":3")
    assert rest == [
        "a unix socket without a name (in sockets.pair, made at sockets.py:4)",
        "unix socket on @forklight-test-load (sockets.named, made at sockets.py:5)",
    ]
    text = _check(folder, "threads", "sockets").stdout
    assert "1 thread alive after the import, of threads (poller, started at threads.py:2): each" in text
    assert "a unix socket without a name" in text
    assert "each instance is loaded, none is forked; what the after_fork hook opens is each instance's own" in text


def test_an_application_of_a_framework_is_no_handler(folder: Path) -> None:
    done = _check(folder, "app")
    assert done.returncode == 1
    assert "the handler 'app:handler' is a WSGI application of type app.App" in done.stdout


def test_held_locks_and_generators_of_random_numbers(folder: Path) -> None:
    done = _check(folder, "locks", "dice", "dice_of_ours", options=("--json",))
    dice, _, locks = json.loads(done.stdout)["loads"]
    assert locks["held"] == ["a held threading.Lock (locks.LOCK, made at locks.py:2)"]
    assert sorted(dice["generators"]) == [
        "a random.Random (dice_of_ours.DICE, made at dice_of_ours.py:3): reseeded in each instance",
        "a random.Random (in dice.Game, made at dice.py:3): reseeded in each instance",
    ]
    lines = {line.split()[0]: line for line in _check(folder, "locks", "dice", "dice_of_ours").stdout.splitlines()}
    assert "waits for ever; release it before the import ends" in lines["locks"]
    assert lines["dice_of_ours"].endswith("made at dice_of_ours.py:3): reseeded in each instance")
