"""Decides which module an import gets if the function's code and the standard library have one of the same name.

It gets that of the standard library, whose other modules depend on it: a function's `queue` in its place would break
`concurrent.futures`. So a function that imports its own `queue` fails to load, with a message that says why. Only
`test` is the function's own, because nothing imports Python's tests. Modules that every interpreter loads at its start
(`time`, `site`) do not count: everywhere an import of them gets the standard library's.
"""

import ast
import os
import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

TESTS = "test"
"""A package of the standard library that is not in `sys.stdlib_module_names`."""

_AT_START = ("abc", "codecs", "encodings", "genericpath", "io", "os", "posixpath", "site", "stat", "zipimport")
"""Modules that Python imports at its start, besides those that are built in."""


class OwnTests:
    """Finds the function's own `test` before Python's."""

    def __init__(self, code: str) -> None:
        self._code = code

    def find_spec(
        self, name: str, path: "Sequence[str] | None", target: "ModuleType | None" = None
    ) -> ModuleSpec | None:
        """Called by the import system."""
        return PathFinder.find_spec(name, [self._code], target) if name == TESTS and path is None else None


def own_names() -> set[str]:
    """The top-level names of the code (the working directory) that an import finds in the standard library first."""
    with os.scandir() as entries:
        found = {_module_name(entry) for entry in entries}
    return found & ({*sys.stdlib_module_names, TESTS} - {*sys.builtin_module_names, *_AT_START})


def hidden_import(names: set[str]) -> str | None:
    """Where a loaded module of the function imports one of `names`, as `main.py:3 imports 'queue'`; else None."""
    here = os.path.realpath(os.curdir) + os.sep
    for module in tuple(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and file.endswith(".py") and os.path.realpath(file).startswith(here):
            for line, name in _imports(file):
                if name in names:
                    return f"{os.path.relpath(file)}:{line} imports {name!r}"
    return None


def _module_name(entry: "os.DirEntry[str]") -> str:
    """The name of a module, or empty: a folder without code, such as `html` or `locale`, usually holds data."""
    if entry.is_dir():
        return entry.name if any(name.endswith(".py") for name in os.listdir(entry.path)) else ""
    return entry.name.removesuffix(".py") if entry.name.endswith(".py") else ""


def _imports(file: str) -> Iterator[tuple[int, str]]:
    """The line and the top-level name of each absolute import in the file, nested ones included."""
    try:
        with open(file, "rb") as source:
            tree = ast.parse(source.read())
    except (OSError, SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.partition(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.lineno, node.module.partition(".")[0]
