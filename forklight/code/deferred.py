"""Imports that stand in the bodies of functions, read from the text of the code: they run in calls, not at the load."""

import ast
import os
import warnings
from collections.abc import Iterable
from pathlib import Path

from forklight.code.references import MOST_BYTES


def deferred_imports(folder: Path, files: Iterable[str]) -> tuple[str, ...]:
    """Return the modules, sorted, that functions in these files of `folder` import, without the folder's own. Blocks.

    Files that cannot be read or parsed are left out.
    """
    found: set[str] = set()
    for name in files:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found.update(_of_file(folder / name))
    return tuple(sorted(name for name in found if not _is_own(folder, name)))


def _of_file(path: Path) -> set[str]:
    try:
        with path.open("rb") as file:
            source = file.read(MOST_BYTES + 1)
        return _in_functions(ast.parse(source)) if len(source) <= MOST_BYTES else set()
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return set()


def _in_functions(tree: ast.AST) -> set[str]:
    found: set[str] = set()
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for node in ast.walk(function):
                match node:
                    case ast.Import(names):
                        found.update(alias.name for alias in names)
                    case ast.ImportFrom(str(module), _, 0):
                        found.add(module)
    return found


def _is_own(folder: Path, name: str) -> bool:
    place = folder / name.partition(".")[0]
    return place.is_dir() or os.path.exists(f"{place}.py")
