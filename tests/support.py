"""What tests start: real trees with real processes, on code and folders that the unprivileged user can read."""

import contextlib
import os
import pwd
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import sandbox.guest
from bus import CallSection, Event
from sandbox.launch import Account
from sandbox.logs import LogLine
from sandbox.spec import FunctionSpec, Runtime
from sandbox.tree import Tree, open_tree

FUNCTIONS = Path(__file__).parent / "functions"
GUEST = Path(sandbox.guest.__file__).parent


def account() -> Account:
    """As root, functions run as `nobody`; otherwise as the user we are."""
    if os.getuid() != 0:
        return Account(os.getuid(), os.getgid(), switch=False)
    nobody = pwd.getpwnam("nobody")
    return Account(nobody.pw_uid, nobody.pw_gid, switch=True)


@contextlib.contextmanager
def readable_folder() -> Iterator[Path]:
    """A temporary folder that other users can enter and read, but not write."""
    folder = Path(tempfile.mkdtemp(prefix="forklight-test-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def copy_readable(source: Path, target: Path) -> Path:
    """Copy a folder so that other users can read it, wherever the original lies."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    for path in (target, *target.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return target


def event(body: bytes = b"{}", **fields: Any) -> Event:
    """An event as a direct call makes it, with a JSON body."""
    attributes = {"source": "/test", "type": "forklight.call", "datacontenttype": "application/json"}
    return Event(body=body, call=CallSection(caller="test"), **(attributes | fields))


class Bench:
    """A running tree, the log lines of its functions so far, and where their code lies."""

    def __init__(self, tree: Tree, code: Path, folders: Path, lines: list[LogLine], python: Path) -> None:
        self.tree = tree
        self.code = code
        self.folders = folders
        self.lines = lines
        self.runtime = Runtime(name="default", python=python)

    def spec(self, folder: str, handler: str = "handler", **settings: Any) -> FunctionSpec:
        """The function `handler` of `tests/functions/FOLDER/function.py`; each handler is a version of its own."""
        identity = f"{folder}-{handler}-{abs(hash(repr(sorted(settings.items(), key=repr))))}"
        fixed = {"name": f"{folder}-{handler}", "version": identity, "runtime": self.runtime}
        target = handler if ":" in handler else f"function:{handler}"
        return FunctionSpec(**(fixed | {"code": self.code / folder, "handler": target} | settings))

    def texts(self) -> list[str]:
        """The texts of all log lines so far."""
        return [line.text for line in self.lines]


@contextlib.asynccontextmanager
async def running_tree(python: Path | None = None) -> AsyncIterator[Bench]:
    """A tree over a copy of `tests/functions`, run by `python` (default: the interpreter of the tests)."""
    with readable_folder() as folder:
        guest = copy_readable(GUEST, folder / "guest")
        code = copy_readable(FUNCTIONS, folder / "functions")
        folders = folder / "folders"
        folders.mkdir(mode=0o711)
        lines: list[LogLine] = []
        interpreter = python or Path(sys.executable)
        async with open_tree(guest=guest, folders=folders, sink=lines.append, account=account()) as tree:
            yield Bench(tree, code, folders, lines, interpreter)
        assert not list(folders.iterdir()), "private folders of dead processes must be gone"
