"""What tests start: real trees with real processes, on code and folders that the unprivileged user can read."""

import asyncio
import atexit
import compileall
import contextlib
import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import sandbox.guest
from bus import CallSection, Event, Failed, Ok, Outcome
from forklight.state.directory import remove_tree
from sandbox.cgroups import NOWHERE, Found
from sandbox.launch import Uids
from sandbox.log_lines import LogLine
from sandbox.rehearsal import Plans
from sandbox.spec import FunctionSpec, Runtime
from sandbox.tree import Tree, open_tree
from tests.kit.accounts import account
from tests.kit.levels import usual

FUNCTIONS = Path(__file__).parents[1] / "functions"
GUEST = Path(sandbox.guest.__file__).parent


@contextlib.contextmanager
def readable_folder() -> Iterator[Path]:
    """A temporary folder that other users can enter and read, but not write."""
    folder = Path(tempfile.mkdtemp(prefix="forklight-test-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        remove_tree(folder)  # snapshots in states are read-only


def copy_readable(source: Path, target: Path) -> Path:
    """Copy a folder so that other users can read it, wherever the original lies."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    for path in (target, *target.rglob("*")):
        path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
    return target


def copy_guest_and_functions(folder: Path) -> None:
    """Make `guest` and `functions` in this folder, which other users can read."""
    subprocess.run(["cp", "-r", "--preserve=mode,timestamps", f"{_prepared()}/.", str(folder)], check=True)


@functools.cache
def _prepared() -> Path:
    """Both, once for all tests; the guest is compiled for our interpreter, as servers have it."""
    folder = Path(tempfile.mkdtemp(prefix="forklight-prepared-"))
    atexit.register(shutil.rmtree, folder)
    guest = copy_readable(GUEST, folder / "guest")
    compileall.compile_dir(guest, quiet=1)
    for path in guest.rglob("__pycache__/*"):
        path.chmod(0o644)
        path.parent.chmod(0o755)
    copy_readable(FUNCTIONS, folder / "functions")
    folder.chmod(0o755)
    return folder


def event(body: bytes = b"{}", **fields: Any) -> Event:
    """An event as a direct call makes it, with a JSON body."""
    attributes = {"source": "/test", "type": "forklight.call", "datacontenttype": "application/json"}
    return Event(body=body, call=CallSection(caller="test"), **(attributes | fields))


def answer(outcome: Outcome) -> Any:
    """The result of a call that has to have gone well, decoded if it is JSON."""
    assert isinstance(outcome, Ok), outcome
    if outcome.content_type == "application/json":
        return json.loads(outcome.body)
    return outcome.body if outcome.content_type is None else outcome.body.decode()


def failure(outcome: Outcome) -> Failed:
    """The outcome of a call that has to have failed."""
    assert isinstance(outcome, Failed), outcome
    return outcome


async def until(condition: Callable[[], Any], limit_s: float = 20.0) -> Any:
    """Wait until `condition` is true, and return what it gave; fails after `limit_s`."""
    end = time.monotonic() + limit_s
    while not (found := condition()):
        assert time.monotonic() < end, f"not within {limit_s:g} s: {condition}"
        await asyncio.sleep(0.002)
    return found


def is_gone(pid: int) -> bool:
    """Whether the process has ended and been reaped."""
    return not os.path.exists(f"/proc/{pid}")


def processes_with(mark: str) -> set[int]:
    """The live processes that have `mark` in their command line; zombies have none."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                if mark.encode() in (entry / "cmdline").read_bytes():
                    found.add(int(entry.name))
    return found


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
        fixed: dict[str, Any] = {"name": f"{folder}-{handler}", "version": identity, "runtime": self.runtime}
        fixed["containment"] = usual()
        target = handler if ":" in handler else f"function:{handler}"
        return FunctionSpec(**(fixed | {"code": self.code / folder, "handler": target} | settings))

    async def call(self, spec: FunctionSpec, data: Any = None) -> Outcome:
        """The outcome of one event with `data` on an instance of its own, which leaves afterwards."""
        instance, kind = await self.tree.start(spec)
        try:
            return await instance.invoke(event(json.dumps(data).encode()), start=kind)
        finally:
            instance.leave()

    async def answer(self, spec: FunctionSpec, data: Any = None) -> Any:
        """What the handler returned, decoded, for a call that has to go well."""
        return answer(await self.call(spec, data))

    async def failure(self, spec: FunctionSpec, data: Any = None) -> Failed:
        """How a call failed that has to fail."""
        return failure(await self.call(spec, data))

    def texts(self) -> list[str]:
        """The texts of all log lines so far."""
        return [line.text for line in self.lines]


@contextlib.asynccontextmanager
async def running_tree(
    python: Path | None = None,
    plans: Plans | None = None,
    uids: Uids | None = None,
    cgroups: Found = NOWHERE,
) -> AsyncIterator[Bench]:
    """A tree over a copy of `tests/functions`, run by `python` (default: the interpreter of the tests)."""
    with readable_folder() as folder:
        copy_guest_and_functions(folder)
        guest, code, folders = folder / "guest", folder / "functions", folder / "folders"
        folders.mkdir(mode=0o711)
        lines: list[LogLine] = []
        interpreter = python or Path(sys.executable)
        who = account(uids)
        async with open_tree(
            guest=guest, folders=folders, sink=lines.append, account=who, plans=plans, cgroups=cgroups
        ) as tree:
            yield Bench(tree, code, folders, lines, interpreter)
        assert not list(folders.iterdir()), "private folders of dead processes must be gone"


@contextlib.asynccontextmanager
async def hosted_tree(
    python: Path | None = None, plans: Plans | None = None, cgroups: Found = NOWHERE
) -> AsyncIterator[Bench]:
    """`running_tree` for a fixture, which pytest-asyncio ends in another task than it began in: a task hosts it."""
    ready: asyncio.Future[Bench] = asyncio.get_running_loop().create_future()
    done = asyncio.Event()

    async def host() -> None:
        async with running_tree(python, plans, cgroups=cgroups) as bench:
            ready.set_result(bench)
            await done.wait()

    hosting = asyncio.create_task(host())
    hosting.add_done_callback(lambda _task: ready.done() or ready.cancel())
    await asyncio.wait({ready})
    try:
        if not hosting.done():
            yield ready.result()
    finally:
        done.set()
        await hosting
