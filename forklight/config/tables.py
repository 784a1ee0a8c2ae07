"""Which table of a `forklight.toml` a key belongs to, from the structs that declare the tables. Pure."""

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from msgspec import Struct, inspect

from forklight.config.document import Node
from forklight.config.reader import keys, without_marks

Path = tuple[str, ...]
NAME = "NAME"
"""Stands for a name that the user chooses."""

_PART = re.compile(r'"[^"]*"|[^.\[\]"]+|\[\d+\]')
_MOST_ITEMS = 3
_MOST_KEYS = 3


class Table(Struct, frozen=True):
    """A table, or each table of a list, such as `functions.NAME.http`."""

    path: Path
    is_list: bool

    def header(self, own: Path) -> str:
        """Return its header, with the names of the table `own` as far as they are the same."""
        shared = _shared(self.path, own)
        written = ".".join((*own[:shared], *self.path[shared:]))
        return f"[[{written}]]" if self.is_list else f"[{written}]"


@lru_cache(maxsize=4)
def tables(root: type[Struct]) -> dict[str, tuple[Table, ...]]:
    """Return the tables that have a key, by the key."""
    found: dict[str, tuple[Table, ...]] = {}
    for table, key in _walk(root, Table((), False)):
        found[key] = (*found.get(key, ()), table)
    return found


def belongs(root: type[Struct], key: str, table: Node) -> str:
    """Return where `key`, which `table` does not have, belongs and how it is written there; nothing if unclear.

    A table within this one, or around it, is likely meant. Of others only the one that alone has such a key is.
    """
    own = _path(table.key)
    meant = key if key in tables(root) else key.lower().replace("-", "_")
    candidates = [one for one in tables(root).get(meant, ()) if one.path != own]
    near = [one for one in candidates if _shared(one.path, own) or not own]
    if not near and (len(candidates) == 1 or all(len(one.path) == 1 for one in candidates)):
        near = candidates
    depth = min((len(one.path) for one in near), default=0)
    best = [one for one in near if len(one.path) == depth or (own and _child(one, own))]
    present = [one for one in best if own and _child(one, own) in table.value]
    best = present or [one for one in best if not (own and one.is_list and len(best) > 1)] or best
    if not best:
        return ""
    headers = " or ".join(one.header(own) for one in best)
    value = _written(table.value[key])
    example = f": write {meant} = {value} there" if value else ""
    if len(best) == 1 and value:
        example = _example(best[0], own, f"{meant} = {value}", table) or example
    return f"{'' if meant == key else f'{meant} '}belongs to {headers}{example}"


def _walk(cls: type[Struct], table: Table) -> Iterator[tuple[Table, str]]:
    for key, (field, _) in keys(cls).items():
        yield table, key
        type_ = without_marks(field.type)
        match type_:
            case inspect.StructType(cls=inner):
                yield from _walk(inner, Table((*table.path, key), False))
            case inspect.DictType(value_type=inspect.StructType(cls=inner)):
                yield from _walk(inner, Table((*table.path, key, NAME), False))
            case inspect.VarTupleType(item_type=inspect.StructType(cls=inner)):
                yield from _walk(inner, Table((*table.path, key), True))


def _path(key: str) -> Path:
    """Return the parts of a node's key, without the places in lists; `defaults` stands for any function."""
    parts = tuple(part for part in _PART.findall(key) if not part.startswith("["))
    return ("functions", NAME, *parts[1:]) if parts[:1] == ("defaults",) else parts


def _shared(pattern: Path, own: Path) -> int:
    """Return how many parts at the beginning are the same."""
    count = 0
    while count < min(len(pattern), len(own)) and pattern[count] in (own[count], NAME):
        count += 1
    return count


def _child(one: Table, own: Path) -> str:
    """Return the key of `own` that leads to this table, or nothing."""
    return one.path[len(own)] if _shared(one.path, own) == len(own) < len(one.path) else ""


def _example(one: Table, own: Path, setting: str, table: Node) -> str:
    """Return how a table right below `own` is written with the setting, and with what it has if it is the only one."""
    child = _child(one, own)
    if not child or len(one.path) != len(own) + 1:
        return ""
    if not one.is_list:
        return f": write {child} = {{ {setting} }}"
    written = table.value.get(child)
    if written is None or not isinstance(written.value, list) or len(written.value) != 1:
        return ""
    first = written.value[0].value
    given = {name: _written(node) for name, node in first.items()} if isinstance(first, dict) else {}
    if len(given) > _MOST_KEYS or None in given.values():
        return ""
    settings = [*(f"{name} = {text}" for name, text in given.items() if text), setting]
    return f": write {child} = {{ {', '.join(settings)} }}"


def _written(node: Any) -> str | None:
    """Return a value as TOML has it; nothing for a long list, None for what takes more than a line."""
    value = node.value
    if isinstance(value, list):
        items = [_written(item) for item in value]
        return None if None in items else f"[{', '.join(map(str, items))}]" if len(items) <= _MOST_ITEMS else ""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str | bool | int | float) else None
