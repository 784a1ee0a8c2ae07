"""`forklight invoke NAME --here` as a process: what it prints where, and its exit status."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ENVIRON = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
CODE = """
def echo(event):
    print("seen", flush=True)
    return event["data"]

def fail(event):
    raise RuntimeError("no")

def of_http(event):
    return event["http"]["query"]

def wait(event):
    open(event["data"]).read()
"""
CONFIG = "".join(f'[functions.{name}]\nhandler = "f:{name}"\n' for name in ("echo", "fail", "of_http", "wait"))
CONFIG += 'isolation = "limits"\n'  # `wait` opens a fifo of the test


@pytest.fixture
def folder() -> Iterator[Path]:
    """A project that the unprivileged user can reach, for its state lies in it."""
    with tempfile.TemporaryDirectory(prefix="forklight-test-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "f.py").write_text(CODE)
        (folder / "forklight.toml").write_text(CONFIG)
        yield folder


def _command(name: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "forklight", "invoke", name, "--here", "--state", "state", *arguments]


def _invoke(folder: Path, name: str, *arguments: str, stdin: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        _command(name, *arguments), cwd=folder, env=ENVIRON, input=stdin, capture_output=True, timeout=50, check=False
    )


def test_the_result_is_printed_as_it_is_and_the_log_beside_it(folder: Path) -> None:
    done = _invoke(folder, "echo", "-d", '{"a": 1}')
    assert (json.loads(done.stdout), done.stderr, done.returncode) == ({"a": 1}, b"seen\n", 0)
    assert list((folder / "state/here").iterdir()) == []


@pytest.mark.parametrize(("name", "content"), [("a.txt", "h\u00e9\n".encode()), ("a.bin", b"\xff\x00\n")])
def test_a_file_has_the_type_of_its_name(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    done = _invoke(folder, "echo", "-f", name)
    assert (done.stdout, done.returncode) == (content, 0)


def test_a_handler_of_another_trigger_is_hinted_at(folder: Path) -> None:
    done = _invoke(folder, "of_http")
    assert (done.stdout, done.returncode) == (b"", 1)
    assert done.stderr.startswith(b"of_http: error/KeyError: 'http'\nTraceback ")
    assert done.stderr.endswith(b"\nhint: what is invoked is a call: its event has `call`, and no 'http'\n")
    assert b"hint" not in _invoke(folder, "fail").stderr


def test_standard_input_is_json(folder: Path) -> None:
    done = _invoke(folder, "echo", "-f", "-", stdin=b'["x"]')
    assert (json.loads(done.stdout), done.returncode) == (["x"], 0)


def test_on_a_terminal_the_result_ends_its_line(folder: Path) -> None:
    master, slave = os.openpty()
    subprocess.run(_command("echo", "-d", '"x"'), cwd=folder, env=ENVIRON, stdout=slave, timeout=50, check=True)
    os.close(slave)
    with open(master, "rb", buffering=0) as terminal:
        assert terminal.read(100) == b"x\r\n"


def test_a_failure_is_told_with_its_traceback(folder: Path) -> None:
    done = _invoke(folder, "fail")
    first, second, third, *_, last = done.stderr.decode().splitlines()
    assert first == "fail: error/RuntimeError: no"
    assert second == "Traceback (most recent call last):"
    assert third == f'  File "{folder}/f.py", line 7, in fail', "the file that one edits, not that of the snapshot"
    assert last == "RuntimeError: no"
    assert (done.stdout, done.returncode) == (b"", 1)


def test_a_whole_outcome_as_json(folder: Path) -> None:
    done = _invoke(folder, "echo", "--json", "-d", '"x"')
    outcome = json.loads(done.stdout)
    assert (outcome["ok"], outcome["body"], outcome["start"], done.returncode) == (True, "x", "boot", 0)
    (folder / "a.bin").write_bytes(b"\xff")
    assert json.loads(_invoke(folder, "echo", "--json", "-f", "a.bin").stdout)["body_base64"] == "/w=="
    done = _invoke(folder, "fail", "--json")
    outcome = json.loads(done.stdout)
    assert (outcome["ok"], outcome["kind"], outcome["code"], done.returncode) == (False, "error", "RuntimeError", 1)


def test_an_interrupt_ends_the_tree_and_leaves_nothing(folder: Path) -> None:
    fifo = folder / "fifo"
    os.mkfifo(fifo)
    fifo.chmod(0o644)
    with subprocess.Popen(
        _command("wait", "-d", json.dumps(str(fifo))), cwd=folder, env=ENVIRON, stderr=subprocess.PIPE, text=True
    ) as process:
        with fifo.open("w"):  # opens when the handler has opened it: now it waits
            process.send_signal(signal.SIGINT)
            _, stderr = process.communicate(timeout=30)
        assert (stderr.strip(), process.returncode) == ("", 130)
    assert list((folder / "state/here").iterdir()) == []
