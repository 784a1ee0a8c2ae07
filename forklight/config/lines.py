"""The line of each key in a TOML file, which `tomllib` does not report.

A text that `tomllib` has accepted is scanned again for headers, keys and the ends of values. Values inside an inline
table or an array have no line of their own: use that of the nearest key around them.
"""

import re
import tomllib
from collections.abc import Iterator

Path = tuple[str | int, ...]
"""Keys from the root; a number is the place in an array of tables, from 0."""

_PIECE = re.compile(
    r'''"""(?:\\.|[^\\])*?"{3,5}'''  # a multi-line string may end in up to two quotes of its own
    r"""|'''.*?'{3,5}"""
    r'''|"(?:\\.|[^"\\\n])*"'''
    r"|'[^'\n]*'"
    r"|\#[^\n]*"
    r"|[\[\]{}=\n]"
    r"""|[^\[\]{}=\n"'\#]+""",
    re.DOTALL | re.VERBOSE,
)


def key_lines(text: str) -> dict[Path, int]:
    """Return the line, from 1, of every table and key of a valid TOML text (of a dotted key, of its every part)."""
    lines: dict[Path, int] = {}
    lengths: dict[Path, int] = {}
    table: Path = ()
    for line, statement in _statements(text):
        if statement.startswith("["):
            table = _header(statement, lengths)
            path, known = table, 0
        else:
            path, known = table + _parts(statement), len(table)
        for end in range(known + 1, len(path) + 1):
            lines.setdefault(path[:end], line)
    return lines


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Yield (line, header) such as `[[a.b]]`, and (line, key) such as `a."b c"`, without values and comments."""
    line = start = 1
    depth = 0
    statement = ""
    in_value = False
    for piece in _PIECE.findall(text):
        if piece == "\n" and depth == 0:
            if statement.strip():
                yield start, statement.strip()
            statement, in_value, start = "", False, line + 1
        elif not piece.startswith("#"):
            if piece == "=" and depth == 0:
                in_value = True
            depth += (piece in "[{") - (piece in "]}")
            statement += "" if in_value else piece
        line += piece.count("\n")
    if statement.strip():
        yield start, statement.strip()


def _header(statement: str, lengths: dict[Path, int]) -> Path:
    """Return the path a header opens; `lengths` counts the tables of each array of tables so far."""
    is_array = statement.startswith("[[")
    *parents, last = _parts(statement.strip("[] \t"))
    path: Path = ()
    for part in parents:
        path = _newest((*path, part), lengths)
    path = (*path, last)
    if is_array:
        lengths[path] = lengths.get(path, 0) + 1
    return _newest(path, lengths)


def _newest(path: Path, lengths: dict[Path, int]) -> Path:
    return (*path, lengths[path] - 1) if path in lengths else path


def _parts(key: str) -> tuple[str, ...]:
    """Split a dotted key as TOML does, quotes and escapes included."""
    table = tomllib.loads(f"{key} = 0")
    parts: list[str] = []
    while isinstance(table, dict):
        (part, table), *_ = table.items()
        parts.append(part)
    return tuple(parts)
