"""The application of the tests: handlers for every way a call can go, and what makes a configuration of them."""

import contextlib
import errno
import json
import os
import tomllib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from forklight.state.directory import remove_tree
from tests.kit.support import readable_folder, until

CODE = """
import os, signal, sys, time

calls = 0

def echo(event):
    return event["data"]

def pid(event):
    global calls
    calls += 1
    return {"pid": os.getpid(), "calls": calls}

def talk(event, context):
    print("printed")
    context.log.warning("logged")
    return "said"

def fail(event):
    raise RuntimeError("the secret is 42")

def crash(event):
    os.kill(os.getpid(), signal.SIGKILL)

def hang(event):
    time.sleep(1000)

def stubborn(event):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        try:
            time.sleep(1000)
        except BaseException:
            pass

def wait(event):
    \"\"\"Until the test has opened the gate: a fifo, open when both sides have opened it.\"\"\"
    with open(event["data"]["gate"]) as gate:
        gate.read()
    return os.getpid()
"""


@contextlib.contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that every user can read, for an application and its state."""
    with readable_folder() as folder:
        try:
            yield folder
        finally:
            remove_tree(folder / "state")  # its snapshots are read-only


def at_limits(toml: str) -> str:
    """The configuration with level `limits` for functions that say nothing of it: they may write anywhere."""
    header, level = "[defaults]\n", 'isolation = "limits"\n'
    with contextlib.suppress(tomllib.TOMLDecodeError):
        if "isolation" in tomllib.loads(toml).get("defaults", {}):
            return toml
    return toml.replace(header, header + level, 1) if header in toml else f"{toml}\n{header}{level}"


@contextlib.contextmanager
def application(toml: str, **files: str) -> Iterator[Path]:
    """An open folder with `f.py` and this `forklight.toml`, at level `limits`; `files` are more modules."""
    with open_folder() as folder:
        (folder / "forklight.toml").write_text(at_limits(toml))
        for name, text in ({"f": CODE} | files).items():
            (folder / f"{name}.py").write_text(text)
        yield folder


def function(handler: str, **settings: Any) -> str:
    """The table of a function named like its handler in `f.py`, at the path of that name and at level `limits`."""
    keys = {"handler": f"f:{handler}", "http": f"/{handler}", "isolation": "limits"} | settings
    return "\n".join([f"[functions.{handler}]", *(f"{key} = {json.dumps(keys[key])}" for key in keys), ""])


class Gate:
    """What a `wait` handler waits at."""

    def __init__(self, folder: Path, name: str = "gate") -> None:
        self.path = folder / name
        os.mkfifo(self.path)
        self.path.chmod(0o666)

    @property
    def request(self) -> dict[str, str]:
        """The body of a request to `wait`."""
        return {"gate": str(self.path)}

    @contextlib.asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """The handler has come to the gate, and waits there until the end of the block."""
        descriptor = await until(self._open)
        try:
            yield
        finally:
            os.close(descriptor)

    def _open(self) -> int | None:
        try:
            return os.open(self.path, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno != errno.ENXIO:  # nobody has it open for reading (fifo(7))
                raise
            return None
