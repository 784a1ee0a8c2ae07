"""Where a configuration is, and its file as one tree: triggers in their long form, `[defaults]` merged in."""

from pathlib import Path

from forklight.config.document import FILE_NAME, Node, merge
from forklight.config.functions import FunctionSettings, Handler, Name
from forklight.config.problem import ConfigError, Problem
from forklight.config.reader import Reader, keys
from forklight.config.short_forms import long_code, with_long_forms

PER_FUNCTION = ("handler", "concurrency", "http", "queue", "timer", "probe")
"""Keys that `[defaults]` does not have. `concurrency` is a promise about one handler, and false of every sync one."""


def locate(path: Path) -> Path:
    """Return the file of a configuration, which for a directory is its forklight.toml. Raises ConfigError."""
    try:
        return _locate(path)
    except OSError as error:
        raise ConfigError([Problem(str(path), 0, "", f"cannot be read: {error.strerror}")]) from error


def _locate(path: Path) -> Path:
    if path.is_dir():
        file = path / FILE_NAME
        if not file.is_file():
            message = f"there is no {FILE_NAME} in this directory; name another, or a single file such as hello.py"
            raise ConfigError([Problem(str(path), 0, "", message)])
        return file
    if not path.exists():
        raise ConfigError([Problem(str(path), 0, "", f"does not exist: name a directory with a {FILE_NAME}")])
    if path.suffix not in (".toml", ".py"):
        message = f"is not a configuration: name a directory with a {FILE_NAME}, a .toml file or a .py file"
        raise ConfigError([Problem(str(path), 0, "", message)])
    return path


def single_file(file: Path) -> Node:
    """Return the tree that a `forklight.toml` for this one file would give; its function is named after the file."""

    def node(value: object, key: str) -> Node:
        return Node(value, str(file), key)

    try:
        name, handler = Name.parse(file.stem), Handler.parse(f"{file.stem}:handler")
    except ValueError as error:
        advice = "rename it, in small letters, digits and _, unlike any module of the standard library"
        raise ConfigError([Problem(str(file), 0, "", f"cannot be a function's file: {advice}")]) from error
    route = node([node({"path": node("/", "path")}, "http")], "http")
    code = node({"path": node(file.name, "code")}, "code")
    function = {"handler": node(str(handler), "handler"), "code": code, "http": route}
    return node({"functions": node({str(name): node(function, "")}, "")}, "")


def completed(root: Node, reader: Reader) -> Node:
    """Return the tree with every function's triggers and code in their long form, and `[defaults]` merged in."""
    functions = root.value.get("functions")
    if functions is not None and isinstance(functions.value, dict):
        long = {name: with_long_forms(node, reader.problems) for name, node in functions.value.items()}
        tables = root.value | {"functions": Node(long, functions.file, functions.key, functions.line)}
        root = Node(tables, root.file, root.key, root.line)
    return _with_defaults(root, reader)


def _with_defaults(root: Node, reader: Reader) -> Node:
    """Return the tree with `[defaults]` merged into each function; problems keep the place of the value."""
    tables = dict(root.value)
    defaults = tables.pop("defaults", None)
    if defaults is not None and not isinstance(defaults.value, dict):
        reader.problems.append(defaults.problem("must be a table: write [defaults] and the keys below it"))
        return Node(tables, root.file)
    if defaults is not None and "code" in defaults.value:
        long = {"code": long_code(defaults.value["code"], reader.problems)}
        defaults = Node(defaults.value | long, defaults.file, defaults.key, defaults.line)
    if defaults is None or reader.struct(defaults, FunctionSettings, without=PER_FUNCTION) is None:
        return Node(tables, root.file)
    known = keys(FunctionSettings).keys() - PER_FUNCTION
    usable = Node({key: node for key, node in defaults.value.items() if key in known}, root.file)
    functions = tables.get("functions")
    if functions is not None and isinstance(functions.value, dict):
        merged = {name: _merged(usable, node) for name, node in functions.value.items()}
        tables["functions"] = Node(merged, functions.file, functions.key, functions.line)
    return Node(tables, root.file)


def _merged(defaults: Node, function: Node) -> Node:
    """`code` is one thing: where a function has its own, nothing of the default is added."""
    if isinstance(function.value, dict) and "code" in function.value:
        kept = {key: node for key, node in defaults.value.items() if key != "code"}
        defaults = Node(kept, defaults.file, defaults.key, defaults.line)
    return merge(defaults, function)
