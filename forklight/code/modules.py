"""The modules of a function's code, and what each binds at its top level, found by reading: nothing is run."""

import ast
import warnings
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path

from forklight.code.files import CodeFile
from forklight.code.syntax import MOST_BYTES

_COMPILED = (".so", ".pyc")
_OPENING = frozenset({"exec", "eval", "globals", "locals", "vars", "__getattr__"})
"""Names whose use may bind any name of the module."""


class Module:
    """One module. `tree` is None if it cannot be parsed here."""

    def __init__(self, name: str, file: CodeFile) -> None:
        self.name = name
        self.file = file
        self.tree = _parsed(file.path, file.size_bytes)

    @property
    def package(self) -> list[str]:
        """The parts of the package that its relative imports start from."""
        parts = self.name.split(".")
        return parts if self.file.name.endswith("__init__.py") else parts[:-1]

    @cached_property
    def names(self) -> dict[str, list[ast.AST | None]]:
        """What each name is bound to: the statements or values, None for what cannot be told."""
        return bindings(self.tree.body, self.tree) if self.tree else {}

    @cached_property
    def is_open(self) -> bool:
        """Whether it may bind names that cannot be found by reading: by `*`, `exec`, `globals()` or `sys.modules`."""
        if self.tree is None:
            return True
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Name) and node.id in _OPENING:
                return True
            if isinstance(node, ast.Attribute) and node.attr in ("modules", "__dict__"):
                return True
            if isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
                return True
        return "__getattr__" in self.names

    @property
    def has_path(self) -> bool:
        """Whether it is a package that mentions its `__path__`, where its modules are looked for."""
        return self.tree is None or any(isinstance(n, ast.Name) and n.id == "__path__" for n in ast.walk(self.tree))

    def origin(self, node: ast.ImportFrom) -> str | None:
        """Return the absolute name of the module that `from … import` names, or None if it is above the code."""
        if not node.level:
            return node.module
        package = self.package
        if node.level - 1 > len(package) - 1:
            return None
        base = package[: len(package) - (node.level - 1)]
        return ".".join([*base, node.module] if node.module else base)

    def imports(self) -> Iterator[str]:
        """Yield the modules that it certainly imports, also those that may only be names of a module.

        Not what a condition or a `try` guards: that may be for another version of Python.
        """
        waiting: list[ast.AST] = [self.tree] if self.tree else []
        while waiting:
            node = waiting.pop()
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and (origin := self.origin(node)):
                yield origin
                yield from (f"{origin}.{alias.name}" for alias in node.names)
            elif not isinstance(node, ast.If | ast.Try | ast.TryStar | ast.expr):
                waiting += ast.iter_child_nodes(node)


class Code:
    """The modules among the files of one code folder, which is first on the path of its functions."""

    def __init__(self, found: Iterable[CodeFile]) -> None:
        self._files = {file.name: file for file in found}
        self._modules: dict[str, Module | None] = {}
        self._folders = {name[:end] for name in self._files for end, char in enumerate(name) if char == "/"}

    def module(self, name: str) -> Module | None:
        """Return the module, or the package by its `__init__`, or None if there is none."""
        if name not in self._modules:
            path = name.replace(".", "/")
            file = self._files.get(f"{path}/__init__.py") or self._files.get(f"{path}.py")
            self._modules[name] = None if file is None else Module(name, file)
        return self._modules[name]

    def is_folder(self, name: str) -> bool:
        """Whether there is a folder of this name, which may be a package without `__init__`."""
        return name.replace(".", "/") in self._folders

    def folder_with(self, name: str) -> str:
        """Return the first folder that the module `name` would be found in if that were the code, or nothing."""
        path = f"/{name.replace('.', '/')}"
        endings = (f"{path}.py", f"{path}/__init__.py")
        found = (file.removesuffix(end) for file in self._files for end in endings if file.endswith(end))
        return min(found, default="")

    def is_compiled(self, name: str) -> bool:
        """Whether there is only a compiled module of this name, which cannot be read."""
        path = f"{name.replace('.', '/')}."
        return any(file.startswith(path) and file.endswith(_COMPILED) for file in self._files)

    def names(self) -> list[str]:
        """Return the dotted names of all modules."""
        files = (name.removesuffix(".py").removesuffix("/__init__") for name in self._files if name.endswith(".py"))
        return sorted(name.replace("/", ".") for name in files if name.replace("/", "").isidentifier())

    def reached(self, entries: Iterable[str]) -> set[str]:
        """Return the names of the files that are imported, directly or not, with these modules."""
        waiting, seen, found = list(entries), set[str](), set[str]()
        while waiting:
            name = waiting.pop()
            if name in seen:
                continue
            seen.add(name)
            if "." in name:
                waiting.append(name.rpartition(".")[0])
            if (module := self.module(name)) is not None:
                found.add(module.file.name)
                waiting += module.imports()
        return found

    def sources(self) -> list[CodeFile]:
        """Return all `.py` files."""
        return [file for file in self._files.values() if file.name.endswith(".py")]


def bindings(body: list[ast.stmt], tree: ast.AST) -> dict[str, list[ast.AST | None]]:
    """Return what the names of a module's or a class's body are bound to, in any branch of it."""
    found: dict[str, list[ast.AST | None]] = {}
    for name, value in _bound(body):
        found.setdefault(name, []).append(value)
    for node in ast.walk(tree):
        if isinstance(node, ast.Global):
            for name in node.names:
                found.setdefault(name, []).append(None)
        elif isinstance(node, ast.NamedExpr):
            found.setdefault(node.target.id, []).append(None)
    return found


def _bound(body: list[ast.stmt]) -> Iterator[tuple[str, ast.AST | None]]:
    waiting: list[ast.AST] = list(body)
    while waiting:
        node = waiting.pop()
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.name, node
            case ast.Import():
                yield from ((alias.asname or alias.name.partition(".")[0], None) for alias in node.names)
            case ast.ImportFrom():
                yield from ((alias.asname or alias.name, node) for alias in node.names)
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=value)
                | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
            ):
                yield name, value
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                yield name, None
                waiting += ast.iter_child_nodes(node)
            case ast.MatchMapping(rest=str(name)):
                yield name, None
            case ast.Name(ctx=ast.Store(), id=name):
                yield name, None
            case ast.Lambda() | ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                pass  # a scope of its own
            case _:
                waiting += ast.iter_child_nodes(node)


def _parsed(path: Path, size_bytes: int) -> ast.Module | None:
    if size_bytes > MOST_BYTES:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return None
