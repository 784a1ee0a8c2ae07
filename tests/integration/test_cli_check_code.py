"""`forklight check` as a process: what it finds by reading the code. Most of that is in unit/forklight."""

import base64
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from forklight.code import syntax
from tests.kit.runtimes import bare_environment, interpreters
from tests.kit.support import readable_folder
from tests.kit.zips import make_zip

ROOT = Path(__file__).resolve().parents[2]
ENVIRON = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
OK = '[functions.f]\nhandler = "f:handler"\n'


def _run(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-W", "error", "-m", "forklight", *arguments]
    return subprocess.run(command, cwd=folder, env=ENVIRON, capture_output=True, text=True, timeout=50, check=False)


def _project(folder: Path, toml: str) -> Path:
    (folder / "forklight.toml").write_text(toml)
    (folder / "f.py").write_text("def handler(event): ...\n")
    return folder


CODE = """
[functions.a]
handler = "app.orders:create"
hooks = { init = "app.orders:connect" }
[functions.b]
handler = "app.ordres:create"
[functions.c]
handler = "broken:handler"
[functions.d]
handler = "json_lines_of_nobody:handler"
[functions.e]
handler = "pytest:main"
"""


def test_the_code_is_checked_without_being_run(tmp_path: Path) -> None:
    """All that is wrong at once, with the place; where a module is installed in the runtime, nothing is wrong."""
    folder = _project(tmp_path, CODE)
    (folder / "app").mkdir()
    (folder / "app/orders.py").write_text("import helpers\n\ndef connect(event): ...\n\ndef creat(event): ...\n")
    (folder / "helpers.py").write_text("def f(:\n    pass\n")
    (folder / "broken.py").write_text("raise SystemExit('run')\n\ndef handler(event):\n    return [1, 2\n")
    done = _run(folder, "check")
    none = f"in {folder} (did you mean 'app.orders'?)"
    nowhere = f"there is no module 'json_lines_of_nobody' in {folder}, which has app.orders, broken, f, helpers"
    assert done.stderr.splitlines() == [
        "broken.py:4:12: SyntaxError: '[' was never closed: the function c cannot load",
        "    return [1, 2",
        "           ^",
        (
            "forklight.toml:3 functions.a.handler: the handler 'app.orders:create' does not exist: "
            "app/orders.py has connect, creat (did you mean 'creat'?)"
        ),
        (
            "forklight.toml:4 functions.a.hooks.init: the hook init = 'app.orders:connect' needs arguments, "
            "but a hook is called without any (app/orders.py:3)"
        ),
        f"forklight.toml:6 functions.b.handler: there is no module 'app.ordres' {none}",
        f"forklight.toml:10 functions.d.handler: {nowhere}, and 'json_lines_of_nobody' is not installed in its runtime",
        "helpers.py:1:7: SyntaxError: invalid syntax: the function a cannot load",
        "    def f(:",
        "          ^",
    ]
    assert (done.stdout, done.returncode) == ("", 2)
    found = json.loads(_run(folder, "check", "--json").stdout)
    assert (found["ok"], found["functions"], len(found["problems"])) == (False, [], 6)
    broken = found["problems"][0]
    assert (broken["file"], broken["line"], broken["column"], broken["text"]) == (
        *("broken.py", 4, 12),
        "return [1, 2\n       ^",
    )


@pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed")
def test_the_file_of_a_handler_of_node_is_there(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop/index.mjs").touch()
    (tmp_path / "app.ts").touch()
    toml = '[runtimes.web]\nnode = "node"\n[defaults]\nruntime = "web"\n'
    for name, handler in (
        ("a", "app:handler"),
        ("b", "shop:handler"),
        ("c", "shop/index:handler"),
        ("d", "ap:handler"),
    ):
        toml += f'[functions.{name}]\nhandler = "{handler}"\n'
    (tmp_path / "forklight.toml").write_text(toml)
    found = _run(tmp_path, "check")
    assert found.returncode == 2
    assert found.stderr == f"forklight.toml:12 functions.d.handler: there is no ap.js (nor .mjs, .cjs) in {tmp_path}\n"


def test_a_zip_of_one_folder_says_what_to_write_instead(tmp_path: Path) -> None:
    """As code forges make them, for handlers of each kind."""
    members = ("shop-1.4/greet.py", "shop-1.4/index.js", "shop-1.4/bootstrap")
    (tmp_path / "app.zip").write_bytes(make_zip(*((name, b"#!/bin/sh\n", 0o755) for name in members)))
    toml = '[defaults]\ncode = "app.zip"\n[functions.a]\nhandler = "greet:handler"\n'
    toml += '[functions.b]\nhandler = "x"\nruntime = "own"\n[runtimes.own]\ncommand = ["./bootstrap"]\n'
    files = ["module 'greet'", "bootstrap"]
    if shutil.which("node") is not None:
        toml += '[functions.c]\nhandler = "index:handler"\nruntime = "web"\n[runtimes.web]\nnode = "node"\n'
        files.append("index.js (nor .mjs, .cjs)")
    (tmp_path / "forklight.toml").write_text(toml)
    found = _run(tmp_path, "check")
    assert found.returncode == 2
    advice = f"in {tmp_path}/app.zip: it is in shop-1.4/: zip the contents of that folder, not the folder"
    told = {line.partition(": ")[2] for line in found.stderr.splitlines()}
    assert told == {f"there is no {file} {advice}" for file in files}


@pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed")
def test_the_file_of_node_in_a_folder_says_what_to_write_instead(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop/index.js").touch()
    toml = '[functions.a]\nhandler = "index:handler"\nruntime = "web"\n[runtimes.web]\nnode = "node"\n'
    (tmp_path / "forklight.toml").write_text(toml)
    assert f'in {tmp_path}: it is in shop/: write code = "shop"' in _run(tmp_path, "check").stderr


def test_concurrency_is_refused_for_a_sync_handler(tmp_path: Path) -> None:
    done = _run(_project(tmp_path, f"{OK}concurrency = 100\n"), "check")
    assert (done.stdout, done.returncode) == ("", 2)
    assert done.stderr == (
        "forklight.toml:3 functions.f.concurrency: the handler 'f:handler' is `def` and runs one call at a time, "
        "but the configuration has concurrency = 100: make it `async def`, or remove `concurrency` and raise "
        "`max_instances` (f.py:1)\n"
    )


def test_a_single_file_without_a_handler(tmp_path: Path) -> None:
    (tmp_path / "hello.py").write_text("def main(event): ...\n")
    done = _run(tmp_path, "check", "hello.py")
    assert done.stderr == (
        "hello.py handler: the handler 'hello:handler' does not exist: hello.py has main"
        "; a single file is served by its function `handler`\n"
    )
    assert done.returncode == 2


def test_what_a_handler_imports_as_it_runs_is_checked_with_a_load_too(tmp_path: Path) -> None:
    (tmp_path / "hello.py").write_text("def handler(event):\n    import later\n")
    (tmp_path / "later.py").write_text("x = (\n")
    done = _run(tmp_path, "check", "--load", "hello.py")
    assert "later.py:1:5: SyntaxError: '(' was never closed: the function hello cannot load" in done.stderr
    assert done.returncode == 2


def test_the_syntax_is_that_of_the_runtime() -> None:
    """Asked of its interpreter, as the functions' user, who cannot read the code where it lies."""
    with readable_folder() as folder:
        where = bare_environment(folder / "environment")
        app = folder / "app"
        app.mkdir(0o700)
        _project(app, f'{OK}runtime = "other"\n[runtimes.other]\npython = "{where}"\n')
        (app / "f.py").write_text("def handler(event): ...\nx = (\n")
        done = _run(app, "check")
    version = platform.python_version()
    assert done.stderr.splitlines()[0] == (
        f"f.py:2:5: SyntaxError in Python {version} of the runtime 'other': '(' was never closed: "
        "the function f cannot load"
    )
    assert done.returncode == 2


@pytest.mark.parametrize("python", interpreters() or [sys.executable])
def test_every_interpreter_can_check_syntax(python: str) -> None:
    """`except*` came with Python 3.11."""
    sources = [b"x = 1\n", b"try:\n    pass\nexcept* OSError:\n    pass\n", b"x = (\n"]
    given = json.dumps([base64.b64encode(source).decode() for source in sources])
    command = [python, "-I", "-c", Path(syntax.__file__).read_text(), "-"]
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=50, check=True)
    good, newer, wrong = json.loads(done.stdout)
    assert good is None
    assert (newer is None) == ("python3.10" not in python)
    assert (wrong["kind"], wrong["line"], wrong["column"], wrong["text"]) == ("SyntaxError", 1, 5, "x = (\n    ^")
