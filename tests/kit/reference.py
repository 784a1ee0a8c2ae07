"""docs/reference.md, made from the structs that a `forklight.toml` is read into: `python -m tests.reference` writes it.

What a key means stands below its field, as a docstring of one paragraph; a second one is for readers of the code. If
its last sentence is `Default: …`, that is said of the default instead of the field's value.
"""

import ast
import inspect
import json
import textwrap
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct
from msgspec.inspect import (
    BoolType,
    CustomType,
    DictType,
    FloatType,
    IntType,
    LiteralType,
    StrType,
    StructType,
    Type,
    UnionType,
    VarTupleType,
)

from forklight.config.functions import Settings
from forklight.config.reader import Key, keys, without_marks
from forklight.config.source import PER_FUNCTION

PAGE = Path(__file__).resolve().parents[2] / "docs/reference.md"
WHOLE_FILE = "forklight.toml"

_INTRODUCTION = """\
# Every key

This page is made from the code. How the file is read, and what durations, sizes and paths are, is in
[configuration.md](configuration.md). A list is of strings unless it says otherwise.
"""
_DEFAULTS = f"""
## `[defaults]`

What counts for every function that does not say otherwise: the keys of `[functions.NAME]` but
{", ".join(f"`{key}`" for key in PER_FUNCTION)}.
"""
_EXPLAINED = {
    "[functions.NAME]": "handler.md",
    "[functions.NAME.code]": "runtimes.md#code-from-elsewhere",
    "[functions.NAME.hooks]": "handler.md#hooks",
    "[[functions.NAME.http]]": "http.md",
    "[functions.NAME.http.cors]": "http.md#other-origins-cors",
    "[[functions.NAME.queue]]": "queues.md",
    "[[functions.NAME.timer]]": "timers.md",
    "[http]": "http.md",
    "[[http.static]]": "http.md#static-files",
    "[bus]": "queues.md#the-bus",
    "[brokers.NAME]": "queues.md",
    "[queues.NAME]": "rabbitmq.md#queues-of-other-programs",
    "[admin]": "operating.md#health-and-metrics",
    "[log]": "operating.md#logs",
    "[runtimes.NAME]": "runtimes.md",
    "[machine]": "operating.md#one-budget-for-all-functions",
}
"""Where more is said of a table."""
_PLAIN = {BoolType: "`true` or `false`", IntType: "integer", FloatType: "number", StrType: "string"}
_DURATIONS_MS = {"h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}
_SIZES = {"GiB": 1024**3, "MiB": 1024**2, "KiB": 1024, "B": 1}


class Table(NamedTuple):
    """A table of the file: its header as TOML has it, and the struct it is read into."""

    header: str
    cls: type[Struct]


def reference() -> str:
    """The whole page."""
    parts = [_INTRODUCTION]
    for table in tables(Settings, ""):
        parts.append("\n".join(["", *_section(table), ""]))
        if table.header == "[functions.NAME]":
            parts.append(_DEFAULTS)
    return "".join(parts)


def tables(cls: type[Struct], path: str) -> Iterator[Table]:
    """The tables within one, and those within them, as deep as they go; first the whole file."""
    if not path:
        yield Table(WHOLE_FILE, cls)
    for name, key in keys(cls).items():
        if table := _table_of(f"{path}{name}", key):
            yield table
            yield from tables(table.cls, table.header.strip("[]") + ".")


def _table_of(path: str, key: Key) -> Table | None:
    match without_marks(key.field.type):
        case StructType(cls=cls):
            return Table(f"[{path}]", cls)
        case VarTupleType(item_type=StructType(cls=cls)):
            return Table(f"[[{path}]]", cls)
        case DictType(key_type=names, value_type=StructType(cls=cls)):
            return Table(f"[{path}.{'NAME' if isinstance(names, CustomType) else 'VARIABLE'}]", cls)
    return None


def _section(table: Table) -> Iterator[str]:
    yield f"## `{table.header}`"
    yield ""
    if table.header in _EXPLAINED:
        yield f"More: [{_EXPLAINED[table.header]}]({_EXPLAINED[table.header]})."
        yield ""
    yield "| key | type | default | what |"
    yield "|---|---|---|---|"
    path = "" if table.header == WHOLE_FILE else table.header.strip("[]") + "."
    for name, key in keys(table.cls).items():
        what, default = _said(key)
        yield f"| `{name}` | {_type(path + name, key)} | {default} | {what} |"


def _said(key: Key) -> tuple[str, str]:
    """What is said of the key, and of its default."""
    text = next(docs[key.field.name] for docs in map(_docstrings, key.owner.__mro__) if key.field.name in docs)
    what, _, default = " ".join(text.split("\n\n")[0].split()).partition(" Default: ")
    if default:
        return what, default.removesuffix(".")
    return what, "required" if key.field.required else _default(key)


@cache
def _docstrings(cls: type) -> dict[str, str]:
    """Those below the fields of a class, by the fields' names; none of a class that msgspec or Python brings."""
    if not issubclass(cls, Struct) or cls is Struct:
        return {}
    [node] = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    assert isinstance(node, ast.ClassDef)
    found = {}
    for field, below in zip(node.body, node.body[1:], strict=False):
        match field, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                found[name] = inspect.cleandoc(text)
    return found


def _type(path: str, key: Key) -> str:
    if key.field.name.endswith("_s"):
        return "duration"
    if key.field.name.endswith("_bytes"):
        return "size"
    if table := _table_of(path, key):
        anchor = "".join(character for character in table.header.lower() if character.isalnum())
        return f"[{'tables' if table.header != f'[{path}]' else 'table'}](#{anchor})"
    return _plain_type(without_marks(key.field.type))


def _plain_type(type_: Type) -> str:
    match type_:
        case DictType(value_type=StrType()):
            return "table of strings"
        case DictType():
            return "table"
        case VarTupleType():
            return "list"
        case UnionType(types=types):
            return ", or ".join(map(_plain_type, types))
        case LiteralType(values=values):
            return " or ".join(f'`"{value}"`' for value in sorted(map(str, values)))
        case CustomType(cls=cls):
            return "path" if cls is Path else "string"
    return _PLAIN[type(type_)]


def _default(key: Key) -> str:
    """As one would write it."""
    field = key.field
    value: Any = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
    if value is None or isinstance(value, Struct) or value in ((), {}):
        return "none"
    if field.name.endswith("_s"):
        return f'`"{_with_unit(round(value * 1000), _DURATIONS_MS)}"`'
    if field.name.endswith("_bytes"):
        return f'`"{_with_unit(value, _SIZES)}"`'
    return f"`{json.dumps(value)}`"


def _with_unit(count: int, units: dict[str, int]) -> str:
    """`units` from large to small: the largest that leaves a whole number."""
    if not count:
        return "0s"
    return next(f"{count // size}{unit}" for unit, size in units.items() if count % size == 0)


if __name__ == "__main__":
    PAGE.write_text(reference())
