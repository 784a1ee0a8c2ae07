"""Where a module-level variable got its value: read from the source of what is told, so an import pays nothing."""

import ast
import os
import sys
from collections.abc import Iterator
from typing import NamedTuple

_MOST_BYTES = 1024 * 1024
_MOST_HOPS = 5


class _Binding(NamedTuple):
    line: int
    taken_from: "tuple[str, str] | None" = None
    """the module and the name that `from module import name` says"""


class Origins:
    """Reads each module once."""

    def __init__(self) -> None:
        self._read: dict[str, dict[str, _Binding]] = {}

    def described(self, module: str, name: str) -> str:
        """`module.name, made at file:line`, without the line if the source does not tell.

        A variable that was imported is that of the module that made it.
        """
        binding = self._binding(module, name)
        for _ in range(_MOST_HOPS):
            if binding is None or binding.taken_from is None or binding.taken_from[0] not in sys.modules:
                break
            module, name = binding.taken_from
            binding = self._binding(module, name)
        made = f", made at {short_path(_file(module))}:{binding.line}" if binding else ""
        return f"{module}.{name}{made}"

    def _binding(self, module: str, name: str) -> "_Binding | None":
        if module not in self._read:
            self._read[module] = _bindings(module)
        return self._read[module].get(name)


def short_path(file: str) -> str:
    """Relative to the code, which is the working directory, or to the folder of libraries that it lies in."""
    for folder in (os.getcwd(), *sys.path):
        start = os.path.join(folder, "")
        if folder and file.startswith(start):
            return file[len(start) :]
    return file


def _file(module: str) -> str:
    file = getattr(sys.modules.get(module), "__file__", None)
    return file if isinstance(file, str) else ""


def _bindings(module: str) -> "dict[str, _Binding]":
    """The last statement that gives each name its value: in a function with `global`, else at module level."""
    file = _file(module)
    try:
        if os.stat(file).st_size > _MOST_BYTES:
            return {}
        with open(file, "rb") as source:
            tree = ast.parse(source.read())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return {}
    package = module if os.path.basename(file) == "__init__.py" else module.rpartition(".")[0]
    found = dict(_bound(tree, package))
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            shared = {name for inner in ast.walk(node) if isinstance(inner, ast.Global) for name in inner.names}
            found.update((name, binding) for name, binding in _bound(node, package) if name in shared)
    return found


def _bound(scope: ast.AST, package: str) -> "Iterator[tuple[str, _Binding]]":
    """The bindings of a scope in order, without those of scopes within it."""
    for node in ast.iter_child_nodes(scope):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, _Binding(node.lineno)
        elif isinstance(node, ast.ImportFrom):
            source = _absolute(node, package)
            for alias in node.names:
                yield alias.asname or alias.name, _Binding(node.lineno, (source, alias.name))
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name, _Binding(node.lineno)
        elif not isinstance(node, ast.Lambda):
            yield from _bound(node, package)


def _absolute(node: ast.ImportFrom, package: str) -> str:
    """The module of `from module import name`, also of `from . import name`."""
    if not node.level:
        return node.module or ""
    parts = package.split(".")
    base = ".".join(parts[: len(parts) - node.level + 1])
    return f"{base}.{node.module}" if node.module else base
