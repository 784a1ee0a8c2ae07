"""Runtimes of other kinds than Python: what they have, and what is said of keys that they do not have."""

import os
import re
import shutil
from pathlib import Path

import pytest

from forklight.config.configuration import load
from forklight.config.functions import NodeHandler
from forklight.config.kinds import likely_runtime
from forklight.config.problem import ConfigError
from sandbox.spec import Runtime

SCRIPT = """#!/bin/sh\necho "{\\"path\\":\\"$0\\",\\"version\\":\\"20.11.1\\"}"\n"""


def folder(tmp_path: Path, runtime: str, function: str = "", *, says: str = SCRIPT) -> Path:
    """A configuration of one function, with a program that passes for Node.js."""
    program = tmp_path / "node"
    program.write_text(says)
    program.chmod(0o755)
    for path in (tmp_path, *tmp_path.parents[:-2]):
        path.chmod(path.stat().st_mode | 0o005)
    table = f'[runtimes.web]\n{runtime}\n[functions.f]\nhandler = "index:handler"\nruntime = "web"\n{function}\n'
    (tmp_path / "forklight.toml").write_text(table)
    return tmp_path


def problem(place: Path) -> str:
    """The only problem of this configuration."""
    with pytest.raises(ConfigError) as error:
        load(place, os.environ)
    (found,) = error.value.problems
    return str(found)


def test_node_is_found_by_its_path_and_tells_its_version(tmp_path: Path) -> None:
    runtime = load(folder(tmp_path, 'node = "./node"'), os.environ).runtimes["web"]
    assert (runtime.kind, runtime.command, runtime.release) == ("node", (str(tmp_path / "node"),), "20.11.1")


@pytest.mark.parametrize(
    ("runtime", "function", "message"),
    [
        ('node = "./node"\npython = "3.12"', "", "web.node: stands beside python, and a runtime has one of them"),
        ('node = "./node"\npreload = ["json"]', "", "is for Python, and this runtime is Node.js: nothing is imported"),
        ('node = "./node"\nrequirements = "r.txt"', "", "its libraries are in node_modules, which npm installs"),
        (
            'node = "./node"',
            'hooks = { init = "index:a" }',
            "its module runs once in each instance",
        ),
        ('node = "./node"', 'rehearsal = "none"', "is for Python, and this runtime is Node.js: its templates import"),
        ('node = "./absent"', "", "is not found: there is no .*/absent; install Node.js"),
        ('node = ""', "", "it is empty: write"),
        ('node = "99"', "", "there is no Node.js 99, but .*: install it, or write its path"),
        (
            'node = "./node"\nevents = "lambda"',
            "",
            "events: is for a command, and this runtime is Node.js: leave it out",
        ),
        ("snapshot = true", "", "web.snapshot: is for Node.js, and this runtime is Python: leave it out"),
        ('command = ["./node"]\nsnapshot = true', "", "web.snapshot: is for Node.js, and this runtime is a command"),
        ('command = ["./absent"]', "", r'f.runtime: command = \["./absent"\]: there is no .*/absent$'),
        ('command = ["./forklight.toml"]', "", r"may not be executed: run `chmod \+x .*/forklight.toml`"),
        ('command = ["../node"]', "", "web.command: .* leads out of the function's code: write an absolute path"),
        ('command = ["no-such-program"]', "", 'there is no no-such-program on PATH; .* is "./no-such-program"'),
        ('command = ["/no/such/program"]', "", "/no/such/program cannot be executed: No such file or directory"),
        ('command = ["/etc/passwd"]', "", r"/etc/passwd cannot be executed: run `chmod \+x /etc/passwd`"),
        ('command = ["/etc/shadow"]', "", "/etc/shadow cannot be (read|executed)"),
        ("command = []", "", r'has no program: write \["./bootstrap"\]'),
        ('command = ["./node"]\npreload = ["json"]', "", "is for Python, and this runtime is a command"),
        ('command = ["./node"]', "concurrency = 2", "an instance of a command gets one event at a time"),
        ('command = ["./node"]', 'hooks = { init = "x:y" }', "is for Python, and this runtime is a command"),
    ],
)
def test_what_a_kind_does_not_have_is_refused(tmp_path: Path, runtime: str, function: str, message: str) -> None:
    assert re.search(message, problem(folder(tmp_path, runtime, function)))


def test_a_snapshot_takes_node_20(tmp_path: Path) -> None:
    asked = 'node = "./node"\nsnapshot = true'
    found = problem(folder(tmp_path, asked, says=SCRIPT.replace("20.11.1", "18.20.4")))
    wanted = f"web.snapshot: takes Node.js 20 or later, and {tmp_path}/node is 18.20.4: leave it out, or take another"
    assert wanted in found
    assert load(folder(tmp_path, asked), os.environ).runtimes["web"].snapshot
    assert not load(folder(tmp_path, 'node = "./node"'), os.environ).runtimes["web"].snapshot


def test_a_command_is_in_the_code_at_a_path_or_on_path(tmp_path: Path) -> None:
    def runtime(written: str) -> Runtime:
        return load(folder(tmp_path, written), os.environ).runtimes["web"]

    own = runtime('command = ["./node", "-x", ""]')
    absolute = runtime(f'command = ["{tmp_path}/node"]\nevents = "forklight"')
    named = runtime('command = ["sh", "bootstrap"]')

    assert (own.kind, own.command, own.release, own.events) == ("command", ("./node", "-x", ""), "", "lambda")
    assert (absolute.command, absolute.events) == ((f"{tmp_path}/node",), "forklight")
    assert absolute.release.startswith("of 2"), "another program at the same path is another runtime"
    assert named.command == (shutil.which("sh"), "bootstrap")


def test_the_handler_of_a_command_is_any_text(tmp_path: Path) -> None:
    place = folder(tmp_path, 'command = ["./node"]')
    table = (place / "forklight.toml").read_text().replace("index:handler", "Some::Type.of/Java")
    (place / "forklight.toml").write_text(table)

    assert load(place, os.environ).functions["f"].settings.handler == "Some::Type.of/Java"


@pytest.mark.parametrize(
    ("says", "message"),
    [
        (SCRIPT.replace("20.11.1", "16.20.0"), "is Node.js 16.20.0: functions need 18 or later"),
        ("#!/bin/sh\necho hello\n", "is not Node.js: asked for its version, it says 'hello'"),
        ("nothing", "is not Node.js"),
    ],
)
def test_what_is_not_a_node_js_of_ours_is_refused(tmp_path: Path, says: str, message: str) -> None:
    assert message in problem(folder(tmp_path, 'node = "./node"', says=says))


@pytest.mark.parametrize("text", ["index:handler", "src/app:orders.handler", "a-b/c.d:default", "@x/y:f$"])
def test_a_handler_of_node_js(text: str) -> None:
    assert NodeHandler.parse(text) == text


@pytest.mark.parametrize(
    ("text", "likely"),
    [
        ("index.handler", "index:handler"),
        ("src/app.js:orders.handler", "src/app:orders.handler"),
        ("./index.mjs", "index:handler"),
        ("index", "index:handler"),
        ("../up:handler", "index:handler"),
        ("/etc/x:handler", "index:handler"),
        ("a:b:c", "index:handler"),
    ],
)
def test_no_handler_of_node_js_says_what_was_likely_meant(text: str, likely: str) -> None:
    with pytest.raises(ValueError, match=f'is not of the form file:export: write "{likely}"$'):
        NodeHandler.parse(text)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("python3.12", 'python = "3.12"'),
        ("3.11", 'python = "3.11"'),
        ("nodejs22.x", 'node = "22"'),
        ("node", 'node = "node"'),
        ("node20", 'node = "20"'),
        ("imaging", ""),
    ],
)
def test_a_runtime_that_is_named_as_elsewhere_is_recognised(text: str, written: str) -> None:
    assert likely_runtime(text) == (f': write runtime = "app", and {written} below [runtimes.app]' if written else "")
