"""Where the measurements happen: functions and guest in a folder that the unprivileged user can read, and trees."""

import contextlib
import itertools
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import anyio

from sandbox.containment import Containment
from sandbox.instance import Instance
from sandbox.rehearsal import Plans
from sandbox.spec import FunctionSpec, Runtime
from sandbox.tree import Tree, open_tree
from tests.kit.accounts import account
from tests.kit.support import GUEST, copy_readable, readable_folder

LIMITS = Containment()
_WORLD = "def handler(event):\n    return {'hello': 'world'}\n"
_FUNCTIONS = {
    "hello": "def handler(event):\n    return {'hello': event['data']['name']}\n",
    "deferring": """
def handler(event):
    import _strptime
    import email.mime.text
    import importlib.metadata
    import sqlite3

    return {"hello": event["data"]["name"]}
""",
    "litter": (
        "class Node:\n    pass\n\n\n"
        "def handler(event):\n"
        "    for _ in range(300):\n"
        "        node = Node()\n"
        "        node.itself, node.content = node, 'x' * 8192\n"
    ),
    "with_numpy": "import numpy\n\n\ndef handler(event):\n    return int(numpy.arange(10).sum())\n",
    "world": _WORLD,
    "with_pandas": "import numpy\nimport pandas\n\n\n" + _WORLD,
    "with_fastapi": "import fastapi\n\n\ndef handler(event):\n    return fastapi.__version__\n",
}


class Workshop:
    """One interpreter, and the functions for it. Every tree of it has folders of its own."""

    def __init__(self, folder: Path, python: Path) -> None:
        self.guest = folder / "guest"
        self.runtime = Runtime(name="benchmark", python=python)
        self._folder = folder
        self._numbers = itertools.count(1)

    def code(self, function: str) -> Path:
        """The folder of this function's code."""
        return self._folder / "functions" / function

    def spec(self, function: str, containment: Containment = LIMITS) -> FunctionSpec:
        """A version that no tree has seen so far."""
        return FunctionSpec(
            name=function,
            version=f"{function}-{next(self._numbers)}",
            code=self.code(function),
            handler=f"{function}:handler",
            runtime=self.runtime,
            containment=containment,
        )

    def tree(self, plans: Plans | None = None) -> AbstractAsyncContextManager[Tree]:
        """A tree with no process in it yet. What its functions log is not kept. With `plans`, it rehearses."""
        folders = self._folder / f"folders-{next(self._numbers)}"
        folders.mkdir(mode=0o711)
        return open_tree(guest=self.guest, folders=folders, sink=lambda _line: None, account=account(), plans=plans)


@contextlib.contextmanager
def workshop(python: Path = Path(sys.executable)) -> Iterator[Workshop]:
    """Guest and functions, byte-compiled as a deployment's are, in a folder that is removed at the end."""
    with readable_folder() as folder:
        copy_readable(GUEST, folder / "guest")
        for name, text in _FUNCTIONS.items():
            code = folder / "functions" / name
            code.mkdir(parents=True)
            (code / f"{name}.py").write_text(text)
        subprocess.run([python, "-I", "-m", "compileall", "-q", folder], check=True)
        yield Workshop(folder, python)


async def ended(instance: Instance) -> None:
    """Let an idle instance end, and wait until it is buried."""
    buried = anyio.Event()
    instance.on_dead = lambda _instance: buried.set()
    instance.leave()
    await buried.wait()
