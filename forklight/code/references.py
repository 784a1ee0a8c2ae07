"""What a Python file may load of the code it belongs to, read from its text: nothing is run. Pure.

Every import counts, wherever it stands: in a function, in a branch, under `TYPE_CHECKING`. So does a module that a
string names (`"shop.models.Order"`, `"tasks:run"`, `f"plugins.{name}"`), because libraries import by such strings. A
file that uses something that can load files of any name is `dynamic`: nobody can tell what it loads.
"""

import ast
import re
import warnings
from collections.abc import Iterable

from msgspec import Struct

MOST_BYTES = 256 * 1024
"""Parsing that much takes about 100 ms, in which the event loop of the server stands still."""


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_ANY_MODULE = _names("""
    builtins importlib importlib_resources importlib_metadata pkgutil pkg_resources runpy imp zipimport site code codeop
    pydoc glob subprocess multiprocessing billiard loky pickle cPickle _pickle shelve marshal dill cloudpickle joblib
    alembic celery django hydra stevedore pytest
""")
"""Modules that load code, run programs or list folders by names that are not in the text."""
_ANY_NAME = _names("""
    __import__ __path__ __loader__ __spec__ import_module import_string import_object load_object resolve_name locate
    instantiate find_modules iter_modules walk_packages autodiscover autodiscover_tasks run_path run_module
    from_object config_from_object lazy_loader lazy_import
    iterdir glob iglob rglob listdir scandir walk fwalk
    ProcessPoolExecutor create_subprocess_exec create_subprocess_shell subprocess_exec subprocess_shell run_process
    open_process popen posix_spawn posix_spawnp execl execle execlp execlpe execv execve execvp execvpe
    spawnl spawnle spawnlp spawnlpe spawnv spawnve spawnvp spawnvpe
""")
"""The same of functions and attributes, whatever they belong to."""
_ANY_BUILT_IN = _names("exec eval compile")
"""The same of names that mean something else as attributes, such as `re.compile`."""
_ANY_OF = {"sys": _names("path meta_path path_hooks path_importer_cache modules"), "os": _names("system")}
"""The same of attributes that mean something else elsewhere, such as `platform.system`."""

WORDS = _names("readme changelog changes history license licence notice contributing authors test tests")
"""Words in the names of files that code rarely reads. Code that does has the word in a string."""

_DOTTED = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)+")
_WITH_COLON = re.compile(r"([^\W\d]\w*):[^\W\d]")
_WORD = re.compile(r"[a-z]+")
_FILE = re.compile(r"([\w-]+)\.py")
_AFTER_DOT = re.compile(r"(?<!\w)\.(\w+)")
_BEFORE_DOT = re.compile(r"(\w+)\.(?!\w)")
_MADE_FILE = re.compile(r"(?:^|[^\w-])\.pyw?\b")
"""The end of the name of a Python file whose beginning is made at run time: f"{name}.py"."""
_PLACEHOLDER = re.compile(r"[%{$]")
_AFTER_ANY_DOT = re.compile(r"\.(\w+)")
_BEFORE_ANY_DOT = re.compile(r"(\w+)\.")


class References(Struct, frozen=True, kw_only=True):
    """What one file may load."""

    imported: frozenset[str] = frozenset()
    """Modules that its import statements may mean, by their full names: `from a import b` may mean `a` and `a.b`."""
    named: frozenset[str] = frozenset()
    """Modules that its strings may mean, by their full names."""
    stems: frozenset[str] = frozenset()
    """Modules that its strings may mean, by the last part of their names."""
    packages: frozenset[str] = frozenset()
    """Packages of which it may load any module, by the last part of their names."""
    words: frozenset[str] = frozenset()
    """Which of WORDS its strings have."""
    dynamic: str = ""
    """What it uses that can load anything, such as `importlib`; empty if nothing."""


def references(source: bytes, name: str, *, is_package: bool) -> References:
    """Return what the file of the module `name` may load. What cannot be parsed is dynamic."""
    if len(source) > MOST_BYTES:
        return References(dynamic=f"more than {MOST_BYTES // 1024} KiB of code")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
        found = _Finder(tuple(name.split(".")) if is_package else tuple(name.split(".")[:-1]))
        found.visit_all(tree)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return References(dynamic="what the server's Python cannot parse")
    return found.references()


def of_strings(texts: Iterable[str]) -> References:
    """Return what is named by strings outside of the code, such as variables."""
    found = _Finder(())
    for text in texts:
        found.add_string(text)
    return found.references()


class _Finder:
    """Collects references. `package` are the parts of the name that relative imports start from."""

    def __init__(self, package: tuple[str, ...]) -> None:
        self._package = package
        self._imported: set[str] = set()
        self._named: set[str] = set()
        self._stems: set[str] = set()
        self._packages: set[str] = set()
        self._words: set[str] = set()
        self._dynamic = ""

    def references(self) -> References:
        return References(
            imported=frozenset(self._imported),
            named=frozenset(self._named),
            stems=frozenset(self._stems),
            packages=frozenset(self._packages),
            words=frozenset(self._words),
            dynamic=self._dynamic,
        )

    def visit_all(self, tree: ast.AST) -> None:
        nodes = list(ast.walk(tree))
        # A string that is a statement of its own does nothing: a docstring, or a comment.
        idle = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
        for node in nodes:
            match node:
                case ast.Import(names):
                    self._add_import(names)
                case ast.ImportFrom(module, names, level):
                    self._add_import_from(module or "", [alias.name for alias in names], level)
                case ast.Name(name) if name in _ANY_NAME | _ANY_BUILT_IN:
                    self._dynamic = name
                case ast.Attribute(ast.Name(base), name) if name in _ANY_OF.get(base, ()):
                    self._dynamic = f"{base}.{name}"
                case ast.Attribute(_, name) if name in _ANY_NAME:
                    self._dynamic = name
                case ast.Constant(str(text)) if id(node) not in idle:
                    self.add_string(text)
                case ast.Constant(bytes(data)) if id(node) not in idle:
                    self.add_string(data.decode("latin-1"))

    def _add_import(self, aliases: list[ast.alias]) -> None:
        for alias in aliases:
            self._add_module(alias.name)
            if alias.asname and alias.name in _ANY_OF:
                self._dynamic = f"{alias.name} under another name"

    def _add_import_from(self, module: str, names: list[str], level: int) -> None:
        base = self._package[: len(self._package) - level + 1] if level else ()
        if level > len(self._package):
            self._dynamic = "a relative import of something above it"
        origin = ".".join((*base, *filter(None, [module])))
        self._add_module(origin)
        for name in names:
            if name == "*":
                self._packages.add(origin.rpartition(".")[2])
            else:
                self._imported.add(f"{origin}.{name}" if origin else name)
            if name in _ANY_NAME or name in _ANY_OF.get(origin, ()) or (name == "*" and origin in _ANY_OF):
                self._dynamic = f"{name} of {origin}"

    def _add_module(self, name: str) -> None:
        """Add a module and the packages that it is in, which are loaded first."""
        parts = name.split(".")
        self._imported.update(".".join(parts[:count]) for count in range(1, len(parts) + 1) if name)
        if parts[0] in _ANY_MODULE:
            self._dynamic = parts[0]

    def add_string(self, text: str) -> None:
        """Add what a string may name. Sentences name nothing: they have spaces."""
        self._words.update(WORDS.intersection(_WORD.findall(text.lower())))
        if not text or any(map(str.isspace, text)):
            return
        for dotted in _DOTTED.findall(text):
            parts = dotted.split(".")
            self._named.update(".".join(parts[:count]) for count in range(1, len(parts) + 1))
        self._named.update(_WITH_COLON.findall(text))
        self._stems.update(_FILE.findall(text))
        if _MADE_FILE.search(text):
            self._dynamic = f"{text!r}, which may end the name of any module"
        is_pattern = _PLACEHOLDER.search(text)
        self._stems.update((_AFTER_ANY_DOT if is_pattern else _AFTER_DOT).findall(text))
        self._packages.update((_BEFORE_ANY_DOT if is_pattern else _BEFORE_DOT).findall(text))
