"""`invoke --here` at a terminal: a function can be talked with."""

import json
import os
import pty
import select
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit import installed
from tests.kit.application import open_folder

pytestmark = pytest.mark.any_user

CODE = """
def stops(event):
    secret = event["data"] * 2
    breakpoint()
    return secret

async def stops_too(event):
    secret = event["data"] * 2
    breakpoint()
    return secret

def asks(event):
    return input("name? ")
"""
TOML = """
[functions.stops]
handler = "f:stops"
timeout = "200ms"
[functions.stops_too]
handler = "f:stops_too"
timeout = "200ms"
[functions.asks]
handler = "f:asks"
"""


class Terminal:
    """A command at a terminal of its own; its standard output is apart."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self._master, slave = pty.openpty()
        environ = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "TERM": "dumb", "FORKLIGHT_STATE": str(folder / "state")}
        self.process = subprocess.Popen(
            [installed.command(), "invoke", *arguments],
            cwd=folder,
            env=environ,
            stdin=slave,
            stdout=subprocess.PIPE,
            stderr=slave,
        )
        os.close(slave)
        self.shown = ""

    def read_until(self, text: str, limit_s: float = 40.0) -> None:
        """Until this is shown after what was asked for before."""
        end = time.monotonic() + limit_s
        while text not in self.shown:
            ready, _, _ = select.select([self._master], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"{text!r} is not shown: {self.shown!r}"
            self.shown += os.read(self._master, 4096).decode()
        self.shown = self.shown.partition(text)[2]

    def type(self, line: str) -> None:
        os.write(self._master, f"{line}\n".encode())

    def end(self) -> bytes:
        """Its standard output, once it has ended well."""
        stdout, _ = self.process.communicate(timeout=40)
        assert self.process.returncode == 0
        return bytes(stdout)

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
        os.close(self._master)


@pytest.fixture
def folder() -> Iterator[Path]:
    with open_folder() as folder:
        (folder / "f.py").write_text(CODE)
        (folder / "forklight.toml").write_text(TOML)
        yield folder


@pytest.mark.parametrize("function", ["stops", "stops_too"])
def test_a_breakpoint_stops_for_as_long_as_it_takes(folder: Path, function: str) -> None:
    terminal = Terminal(folder, function, "--here", "-d", "21")
    try:
        terminal.read_until("(Pdb) ")
        stopped = time.monotonic()
        while time.monotonic() < stopped + 1.0:  # five times the function's timeout
            terminal.type("p 'secret', secret")
            terminal.read_until("('secret', 42)")
            terminal.read_until("(Pdb) ")
        terminal.type("c")
        assert json.loads(terminal.end()) == 42
    finally:
        terminal.close()


def test_a_function_may_ask(folder: Path) -> None:
    terminal = Terminal(folder, "asks", "--here")
    try:
        terminal.read_until("name? ")
        terminal.type("Ada")
        assert terminal.end() == b"Ada"
    finally:
        terminal.close()


def test_what_is_piped_in_is_a_functions_input(folder: Path) -> None:
    done = subprocess.run(
        [installed.command(), "invoke", "asks", "--here"],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "FORKLIGHT_STATE": str(folder / "state")},
        input=b"Grace\n",
        capture_output=True,
        timeout=40,
        check=False,
    )
    assert (done.stdout, done.returncode) == (b"Grace", 0), done.stderr
    assert done.stderr == b"name? \n"
